"""Tensors: the same numbers whatever the calling program has set torch to, and all bytes of some for a hash.

What is a thread's own (default device, grad and inference mode) is set aside by `plain_torch`. The default dtype is the
whole program's, and other threads may need it as it is: nothing relies on it, every tensor is made with a dtype of its
own. How exact products of float32 are is the whole program's too, and there is no other way to say it:
`exact_product` sets it for as long as a product takes to be launched.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.errors import UserError

#: oneDNN's product of float32 with a linear map's weights, or none: torch takes another library for float32, which does
#: not use all that some processors have.
ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None

# How often a product is made anew because another thread has changed meanwhile how exact products are.
_TRIES = 100
# Rows and columns of a small product that is looked at.
_PROBE = 64
# Rows of a tensor that are copied at a time to be hashed.
_HASHED_ROWS = 16


@contextmanager
def plain_torch() -> Iterator[None]:
    """New tensors on the CPU unless a device is named, no gradients, no inference tensors; also as a decorator."""
    with cpu_by_default(), torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def cpu_by_default() -> Iterator[None]:
    """New tensors on the CPU unless a device is named; also as a decorator."""
    # Without need it would cost a little with every operation.
    with nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
        yield


def exact_product(
    x: Float[Tensor, "rows width"], y: Float[Tensor, "columns width"], out: Float[Tensor, "rows columns"] | None = None
) -> Float[Tensor, "rows columns"]:
    """`x @ y.T`, with sums no coarser than the dtype says.

    Args:
        x: One side.
        y: The other side, of the same dtype and on the same device.
        out: Where the product is written, if anywhere.

    Raises:
        UserError: If products of float32 are made coarser from outside the program, or other threads keep changing how
            exact they are.
    """
    return _exactly(lambda: torch.mm(x, y.T) if out is None else torch.mm(x, y.T, out=out))


def quick_product(x: Float[Tensor, "rows width"], y: Float[Tensor, "columns width"]) -> Float[Tensor, "rows columns"]:
    """The same by the quickest library that there is: the last digits of float32 on a processor are others.

    Args:
        x: One side.
        y: The other side, of the same dtype and on the same device.

    Raises:
        UserError: As `exact_product`.
    """
    if ONEDNN is None or x.device.type != "cpu" or x.dtype != torch.float32 or not x.numel():
        return exact_product(x, y)
    return _exactly(lambda: ONEDNN(x, y, None, "none", [], ""))


def _exactly(product: Callable[[], Tensor]) -> Tensor:
    """What a product gives while products are exact."""
    for _ in range(_TRIES):
        with _FULL.held():
            found = product()
            if _FULL.is_set():
                return found
    raise UserError(
        "another thread of this program keeps changing the precision of matrix products "
        "(torch.set_float32_matmul_precision, torch.backends.….fp32_precision); no product is exact meanwhile"
    )


class _FullPrecision:
    """What the whole program says of products: set while somebody needs it, as it was before once nobody does."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, list[Any]()
        self._settings = _settings()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = [setting.own() for setting in self._settings]
            self._users += 1
            self._set()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users and self.is_set():
                    for setting, value in zip(self._settings, self._before, strict=True):
                        setting.write(value)

    def is_set(self) -> bool:
        return all(setting.read() == setting.wanted for setting in self._settings)

    def present(self) -> str:
        """What is set now, in one line."""
        return " ".join(str(setting.read()) for setting in self._settings)

    def _set(self) -> None:
        for setting in self._settings:
            if setting.read() != setting.wanted:
                setting.write(setting.wanted)


class _Setting(NamedTuple):
    """One setting that makes products coarser."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    wanted: Any
    own: Callable[[], Any]
    """What has to be written to have everything as it was."""


def _settings() -> list[_Setting]:
    """Each setting that makes products coarser."""
    backends: Any = torch.backends
    settings = [_attribute(backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False)]
    # Versions before 2.9 have one setting for all; later ones raise where it and these are mixed.
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        whole = torch.get_float32_matmul_precision
        return [*settings, _Setting(whole, torch.set_float32_matmul_precision, "highest", whole)]
    # What oneDNN is set to as a whole cannot be said: in these versions it sets everything.
    return [
        *settings,
        _precision(backends.cuda.matmul, (backends, backends.cudnn)),
        _precision(backends.mkldnn.matmul, (backends,)),
    ]


def _attribute(owner: Any, name: str, wanted: Any) -> _Setting:
    read = partial(getattr, owner, name)
    return _Setting(read, partial(setattr, owner, name), wanted, read)


def _precision(matmul: Any, levels: tuple[Any, ...]) -> _Setting:
    return _attribute(matmul, "fp32_precision", "ieee")._replace(own=partial(_own_precision, matmul, levels))


def _own_precision(matmul: Any, levels: tuple[Any, ...]) -> Any:
    """What a backend's products are set to themselves: "none" if what is read comes from a level above them.

    Written back as if it were their own, it would stay after the caller has set the level above anew. Torch does not
    tell the two apart; that what is read follows a level does.
    """
    found = matmul.fp32_precision
    for position, level in enumerate(levels):
        if found in ("none", "ieee"):  # Comes from nowhere; is never written over.
            break
        before = _own_precision(level, levels[:position])
        level.fp32_precision = "ieee"
        follows = matmul.fp32_precision != found
        level.fp32_precision = before
        if follows:
            return "none"
    return found


_FULL = _FullPrecision()


def products() -> str:
    """How exact the program lets products of float32 be: numbers that were summed under different ones do not mix."""
    return _FULL.present()


def refuse_coarse_products(device: torch.device) -> None:
    """Look whether float32 products on a device are float32 products.

    Raises:
        UserError: If they are not, as under NVIDIA_TF32_OVERRIDE=1, which no program can overrule.
    """
    # One bit in the middle of a float32, which coarser formats do not have.
    number = torch.full((_PROBE, _PROBE), 1 + 2.0**-12, dtype=torch.float32, device=device)
    expected = _PROBE * (1 + 2.0**-12) ** 2
    if abs(float(exact_product(number, number)[0, 0]) - expected) > 2.0**-18 * expected:
        raise UserError(
            f"products of float32 on {device} are coarser than float32; is NVIDIA_TF32_OVERRIDE set? Unset it, or "
            "use matcher.device=cpu"
        )


def hashed_parts(name: str, tensor: Tensor) -> Iterator[bytes | memoryview]:
    """A tensor's name, dtype, shape and every byte of it, wherever it lies."""
    yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
    # What lies otherwise than it is counted is copied, a part at a time.
    parts = [tensor] if tensor.is_contiguous() else tensor.split(_HASHED_ROWS)
    for part in parts:
        yield part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """A hash of all that a file of tensors holds: whoever reads it again sees whether it is what was written."""
    digest = hashlib.sha256(json.dumps(dict(notes), sort_keys=True).encode())
    for name in sorted(tensors):
        for part in hashed_parts(name, tensors[name]):
            digest.update(part)
    return digest.hexdigest()
