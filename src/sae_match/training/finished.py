"""What a training leaves for whoever gives the same command again: that it is over, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole
from sae_match.saes.manifest import NAME
from sae_match.training.checkpoints import UNSAID
from sae_match.training.measuring import Measured

#: Below the destination.
_FILE = "training.json"
# What earlier versions left beside their SAEs.
_EARLIER = ("sae/trained.yaml",)


@dataclass(frozen=True)
class Outcome:
    """What the SAE of a layer does on held-out text.

    Attributes:
        l0: Mean number of active features on a token.
        explained_variance: Share of the variance, summed over dimensions, of all tokens.
        explained_variance_usual: The same without tokens of extreme norm.
        explained_variance_by_dimension: Mean of each dimension's own, of all tokens.
        explained_variance_by_dimension_usual: That too without them.
        explained_variance_normed: As the next block reads residuals, behind its norm; none where it has none.
        largest_dimension: Share of the variance that one dimension has.
        dead: Features that were never active.
        features: Number of features.
        extreme: Tokens of extreme norm, whose like is left out of training.
        tokens: Tokens in all.
        file: The SAE, below the destination.
    """

    l0: float
    explained_variance: float
    explained_variance_usual: float
    explained_variance_by_dimension: float
    explained_variance_by_dimension_usual: float
    explained_variance_normed: float | None
    largest_dimension: float
    dead: int
    features: int
    extreme: int
    tokens: int
    file: str


#: What a training left, by layer.
Finished = Mapping[int, Outcome]


def note_finished(
    destination: Path, identity: Mapping[str, str], measured: Mapping[int, Measured], files: Mapping[int, Path]
) -> Finished:
    """Write down that a training is over, and what came of it."""
    found = {
        layer: Outcome(
            l0=one.l0,
            explained_variance=one.explained_variance,
            explained_variance_usual=one.explained_variance_usual,
            explained_variance_by_dimension=one.explained_variance_by_dimension,
            explained_variance_by_dimension_usual=one.explained_variance_by_dimension_usual,
            explained_variance_normed=None if one.normed is None else one.explained_variance_normed,
            largest_dimension=one.largest_dimension,
            dead=one.dead,
            features=len(one.activity.active),
            extreme=one.extreme,
            tokens=one.activity.tokens,
            file=files[layer].relative_to(destination).as_posix(),
        )
        for layer, one in measured.items()
    }
    whole = {"identity": dict(identity), "layers": {str(layer): vars(outcome) for layer, outcome in found.items()}}
    remove_leftovers(destination / _FILE)
    with written_whole(destination / _FILE) as temporary:
        temporary.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def finished(destination: Path, identity: Mapping[str, str]) -> Finished | None:
    """What this very training left at a destination, or none where it has not ended there.

    Raises:
        UserError: If the destination holds the SAEs of another training, or what would be written over.
    """
    file = destination / _FILE
    kept = next((destination / name for name in (NAME, *_EARLIER) if (destination / name).exists()), None)
    remedy = "choose another destination"
    if kept is None:
        if file.exists() and not _is_ours(file):
            raise UserError(f"{file} is not what a training leaves, and would be written over; {remedy}")
        return None
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        theirs = {**UNSAID, **whole["identity"]}
        found = {int(layer): Outcome(**outcome) for layer, outcome in whole["layers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{destination} holds trained SAEs already ({kept}); {remedy}") from error
    for name in sorted(theirs.keys() | identity.keys()):
        if theirs.get(name) != identity.get(name):
            raise UserError(
                f"{destination} holds the SAEs of another training: {name} was {theirs.get(name)} there and is "
                f"{identity.get(name)} here; {remedy}"
            )
    return found


def _is_ours(file: Path) -> bool:
    """Whether a file is what some training has left there."""
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(whole, dict) and {"identity", "layers"} <= set(whole)
