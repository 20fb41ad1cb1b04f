"""A short name of a loaded model, by its weights."""

import hashlib

from sae_match.model.residual_stream import ResidualStream

#: Entries of each parameter that a model is told from another by.
_SAMPLE = 64


def fingerprint(stream: ResidualStream) -> str:
    """A short name that models with other weights do not share: a hash of some entries of each parameter."""
    digest = hashlib.sha256(stream.model.config.to_json_string().encode())
    for name, parameter in stream.model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        # A parameter that is kept on disk for want of memory has no values here.
        if not parameter.is_meta:
            digest.update(str(parameter.detach().flatten()[:_SAMPLE].float().tolist()).encode())
    return digest.hexdigest()[:16]
