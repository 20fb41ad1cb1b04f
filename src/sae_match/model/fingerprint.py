"""A short name of a loaded model, by its weights."""

from collections.abc import Iterator

from torch import Tensor
from xxhash import xxh3_128

from sae_match.model.residual_stream import ResidualStream
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.tensors import hashed_parts


def fingerprint(stream: Streams) -> str:
    """A short name that models which differ in a single weight do not share: a hash of config, parameters and buffers.

    Of buffers those count that are a part of a checkpoint, as some models keep what routes tokens. A parameter that is
    kept on disk for want of memory has no values here; its name and shape count. Of two models it is both names.
    """
    if isinstance(stream, TwoStreams):
        return f"{fingerprint(stream.source)}-{fingerprint(stream.target)}"
    digest = xxh3_128(stream.model.config.to_json_string().encode())
    for name, parameter in _weights(stream):
        if parameter.is_meta:
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        else:
            for part in hashed_parts(name, parameter):
                digest.update(part)
    return digest.hexdigest()[:16]


def _weights(stream: ResidualStream) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then the buffers that checkpoints hold; others follow from the config."""
    yield from stream.model.named_parameters()
    held = stream.model.state_dict(keep_vars=True)
    yield from ((name, buffer) for name, buffer in stream.model.named_buffers() if name in held)
