"""A short name of a loaded model, by its weights."""

from xxhash import xxh3_128

from sae_match.model.residual_stream import ResidualStream
from sae_match.tensors import hashed_parts


def fingerprint(stream: ResidualStream) -> str:
    """A short name that models which differ in a single weight do not share: a hash of config, attention, parameters.

    A parameter that is kept on disk for want of memory has no values here; its name and shape count.
    """
    digest = xxh3_128(f"{stream.model.config.to_json_string()} {stream.attention}".encode())
    for name, parameter in stream.model.named_parameters():
        if parameter.is_meta:
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        else:
            for part in hashed_parts(name, parameter):
                digest.update(part)
    return digest.hexdigest()[:16]
