"""Seeded damage to small valid files: to their bytes, to what they say, and to the tensors in them."""

import io
import json
import zipfile
from random import Random

import torch
from torch import Tensor

#: What a field may hold instead: other types, nothing, and numbers that fit nothing.
VALUES = (
    *(None, True, False, "", "text", "3", [], [3], {}, {"in": 1}, -1, 0, 1, 3, 4, 0.5, -0.5),
    *(2**31, 2**63, 2**64, 10**400, 1e308, -1e308, 1e-308, float("nan"), float("inf"), "9" * 5000, [[[[]]]]),
)
_NUMBERS = (0.0, -1.0, 1e-45, 1e20, 3e38, -3e38, float("nan"), float("inf"))
_DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)


def of_bytes(random: Random, content: bytes) -> bytes:
    """Some bytes flipped, set, cut out, put in or said twice; or the end is missing."""
    changed = bytearray(content)
    start = random.randrange(len(changed) or 1)
    stop = min(len(changed), start + random.choice((1, 1, 4, 30, 300)))
    match random.randrange(7):
        case 0:
            for position in random.choices(range(len(changed)), k=random.choice((1, 1, 1, 2, 8))):
                changed[position] ^= 1 << random.randrange(8)
        case 1:
            changed[start] = random.randrange(256)
        case 2:
            del changed[start:]
        case 3:
            del changed[start:stop]
        case 4:
            changed[start:start] = random.randbytes(stop - start)
        case 5:
            changed[start:start] = changed[start:stop]
        case 6:
            changed[start:stop] = random.choice((b"\x00", b"\xff")) * (stop - start)
    return bytes(changed)


def of_settings(random: Random, content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A field of a JSON object is another, gone, or under another name; returns the keys on the way to it too."""
    settings = json.loads(content)
    inside, path = settings, []
    while True:
        key = random.choice(sorted(inside))
        path.append(key)
        if not (isinstance(inside[key], dict) and inside[key] and random.random() < 0.8):
            break
        inside = inside[key]
    match random.randrange(6):
        case 0:
            del inside[key]
        case 1:
            inside[f"{key} "] = inside.pop(key)
        case _:
            inside[key] = random.choice(VALUES)
    return json.dumps(settings).encode(), tuple(path)


def of_tensors(random: Random, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One of the tensors has another shape, dtype or number, is gone, or has another name."""
    changed = dict(tensors)
    name = random.choice(sorted(changed))
    tensor = changed.pop(name)
    match random.randrange(7):
        case 0:
            pass
        case 1:
            changed[random.choice((f"{name} ", "W_skip", "threshold", "W_enc"))] = tensor
        case 2:
            tensor = tensor.float().clone()
            tensor.view(-1)[random.randrange(tensor.numel())] = random.choice(_NUMBERS)
            changed[name] = tensor
        case 3:
            changed[name] = tensor.T.contiguous() if tensor.ndim == 2 else tensor.reshape(-1, 1)
        case 4:
            changed[name] = tensor[: random.choice((0, 1, -1))] if tensor.ndim else tensor.expand(2).clone()
        case 5:
            changed[name] = tensor.to(random.choice(_DTYPES))
        case 6:
            changed[name] = torch.full((random.choice((0, 1, 3)),), random.choice(_NUMBERS))
    return changed


def of_member(random: Random, content: bytes, ending: str, head: int) -> bytes:
    """The beginning of one member of a zip archive is damaged, and the archive's checksums are right for it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen = random.choice([name for name, _ in members if name.endswith(ending)])
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, member in members:
            damaged = of_bytes(random, member[:head]) + member[head:] if name == chosen else member
            archive.writestr(name, damaged)
    return written.getvalue()
