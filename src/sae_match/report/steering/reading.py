"""What a question about steering or groups needs beside model, SAEs and text."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from sae_match.evaluation.groups.circuits import Groups
from sae_match.evaluation.groups.members import Member, grouped_by
from sae_match.evaluation.groups.prompts import active_features
from sae_match.matching import baselines
from sae_match.matching.cost import Metric
from sae_match.matching.result import Matching
from sae_match.matching.significance.rematching import settings_of
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE
from sae_match.semantics.features.opening import Reading, opened, saes_by_layer

Pair = tuple[int, int]


def nearest_of(matchings: Mapping[Pair, Matching], saes: Mapping[int, SAE]) -> dict[Pair, Matching]:
    """The nearest feature of the next layer, one-to-one or not, priced as each matching was.

    Raises:
        UserError: If an SAE is missing, or a matching does not say how it was found.
    """
    saes_by_layer({layer: saes.get(layer) for pair in matchings for layer in pair})
    found = {}
    for (source, target), matching in matchings.items():
        how = settings_of(matching)
        found[source, target] = baselines.nearest(
            saes[source],
            saes[target],
            fold=cast(Fold, how.fold),
            terms=how.terms,
            metric=cast(Metric, how.metric),
        )
    return found


def groups_of_prompt(
    prompt: str,
    matchings: Mapping[Pair, Matching],
    model: object,
    tokenizer: object,
    saes: Mapping[int, object],
    *,
    most: int,
    names: Mapping[Member, str] | None = None,
    alpha: float | None = None,
    bos: str | None = None,
    device: str = "auto",
) -> Groups:
    """The features that a prompt activates, grouped.

    Args:
        prompt: Text.
        matchings: By pair of layers.
        model: Its name, or a model; see `features`.
        tokenizer: Of a model that is given.
        saes: By layer.
        most: Features of each layer that are taken.
        names: What features are called.
        alpha: Level of the matchings.
        bos: Token that the prompt begins with, for a tokenizer that has no BOS.
        device: Where a model that is loaded goes.

    Raises:
        UserError: If model and SAEs cannot be had or do not fit each other.
    """
    what = opened(model, tokenizer, saes, [prompt], Reading("residual", 1, None, bos, 1, 1, 0, 1, device))
    batch = what.batches[0].to(what.device)
    layers = sorted({layer for pair in matchings for layer in pair} & set(what.saes))
    active = active_features(what.stream, what.sae, layers, batch, most)
    tokens = what.tokenizer.convert_ids_to_tokens(batch.input_ids[0].tolist())
    name = Path(str(getattr(what.stream.model.config, "_name_or_path", "") or "")).name
    made = tuple(grouped_by(active, matchings, names)) if active else ()
    return Groups(made, prompt, tuple(tokens), active, name, alpha)
