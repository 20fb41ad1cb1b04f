"""Whether two language models are two, by what they are named."""

from pathlib import Path

from sae_match.errors import UserError
from sae_match.model.settings import ModelSettings


def refuse_same_model(source: ModelSettings, target: ModelSettings) -> None:
    """Check that settings do not name one model twice.

    Raises:
        UserError: If they do.
    """
    places = [(str(Path(one.location).absolute()), one.revision) for one in (source, target)]
    if places[0] == places[1]:
        raise UserError(same_model(source, target))


def same_model(source: ModelSettings, target: ModelSettings) -> str:
    """What is said of two models that are one."""
    named = source.source if source.source == target.source else f"{source.source} and {target.source}"
    return (
        f"model and target_model are the same model, {named}: name another one as target_model, or leave it out to "
        "compare two collections on one model"
    )
