"""What judges will be shown, in words for a plan."""

from collections.abc import Sequence

from sae_match.model.settings import ModelSettings
from sae_match.report.console import short_name
from sae_match.semantics.descriptions import Descriptions
from sae_match.semantics.settings import DescriptionSettings
from sae_match.text.settings import TextSettings


def contexts_line(model: ModelSettings, text: TextSettings, device: str) -> str:
    """Which model will read which text, where judges are shown where features fire."""
    datasets = ", ".join(
        f"{name} ({source.name or source.path or source.kind})" for name, source in text.datasets.items()
    )
    return (
        f"contexts: {short_name(model.source)} ({model.dtype}, on {device}) reads {text.documents:,} documents each of "
        f"{datasets}, up to {text.max_tokens:,} tokens of each"
    )


def descriptions_line(descriptions: Descriptions, settings: DescriptionSettings, layers: Sequence[int]) -> str:
    """Whose published descriptions judges will be shown, and where these come from."""
    names = ["/".join(descriptions.names[layer]) for layer in layers if layer in descriptions.names]
    ends = list(dict.fromkeys(names[:1] + names[-1:]))
    return f"descriptions: {' to '.join(ends) or 'of none of these layers'}, from {_where(settings)}"


def _where(settings: DescriptionSettings) -> str:
    if settings.folder is not None:
        return f"files in {settings.folder}"
    bulk, single = f"bulk files of {settings.export}", f"single questions to {settings.api}"
    return {
        "export": bulk,
        "api": single,
        "both": f"{bulk} and, where they have none, {single}",
    }.get(settings.mode, f"{bulk} or, of layers that have none, {single}")
