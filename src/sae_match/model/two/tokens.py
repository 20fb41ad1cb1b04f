"""Whether two tokenizers make the same tokens of every text: by what they do, not by what they are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.model.settings import ModelSettings
from sae_match.model.sizes import settings_in

# What a tokenizer's file says of how text becomes ids, beside its vocabulary; what it says of padding, of cutting and
# of how ids become text is of no concern.
_STEPS = ("normalizer", "pre_tokenizer")
_NO_VOCABULARY = ("vocab", "type")
_FILE = "tokenizer.json"


def refuse_other_files(source: ModelSettings, target: ModelSettings) -> bool:
    """Check the same by files on this machine.

    Returns:
        Whether both have one; nothing is known otherwise.

    Raises:
        UserError: If they do not read the same tokens; says where the tokenizers differ.
    """
    files = [Path(one.location) / _FILE for one in (source, target)]
    if not all(file.is_file() for file in files):
        return False
    first, second = (settings_in(file) for file in files)
    refuse_difference(difference(first, second), (source.source, target.source))
    return True


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Where two tokenizers make other ids of a text, in a few words; none if they do not.

    Args:
        first: What a `tokenizer.json` holds.
        second: Likewise.
    """
    ids = [_ids(one) for one in (first, second)]
    if ids[0] != ids[1]:
        token = min(
            (token for token in {**ids[0], **ids[1]} if ids[0].get(token) != ids[1].get(token)),
            key=lambda token: (token in ids[0] and token in ids[1], token),
        )
        numbers = (_number(ids[0].get(token)), _number(ids[1].get(token)))
        sizes = f"vocabularies of {len(ids[0]):,} and {len(ids[1]):,} tokens"
        return f"{sizes}, and {shown(token)} is {numbers[0]} in the one and {numbers[1]} in the other"
    models = [
        {name: value for name, value in _part(one, "model").items() if name not in _NO_VOCABULARY}
        for one in (first, second)
    ]
    for name in {**models[0], **models[1]}:
        if models[0].get(name) != models[1].get(name):
            return f"their {'merges' if name == 'merges' else f'model setting {name}'} differ"
    for name in _STEPS:
        if first.get(name) != second.get(name):
            return f"their {name.replace('_', ' ')} differs"
    return None


def _ids(told: Mapping[str, Any]) -> dict[str, int]:
    """The id of every token that text can hold, added ones too; special ones are never found in text."""
    vocabulary = _part(told, "model").get("vocab")
    if isinstance(vocabulary, list):
        # Of some kinds it is a list of tokens, each with its score.
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    added = told.get("added_tokens")
    listed = added if isinstance(added, list) else []
    known = [one for one in listed if isinstance(one, dict)]
    special = {one.get("content") for one in known if one.get("special")}
    more = {one.get("content"): one.get("id") for one in known}
    ids = {**(vocabulary if isinstance(vocabulary, dict) else {}), **more}
    return {token: number for token, number in ids.items() if token not in special}


def _part(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _number(found: int | None) -> str:
    return "absent" if found is None else f"id {found}"


def said(token: object) -> str:
    """A token, as it is shown to users."""
    return "none" if token is None else shown(str(token))


def refuse_difference(found: str | None, models: tuple[str, str]) -> None:
    """Refuse models whose tokenizers differ in what was found, if anything.

    Raises:
        UserError: If they do.
    """
    if found is not None:
        raise UserError(
            f"{models[0]} (model) and {models[1]} (target_model) do not read the same tokens: {found}; text is "
            "tokenised once for both, so compare models that share a tokenizer"
        )
