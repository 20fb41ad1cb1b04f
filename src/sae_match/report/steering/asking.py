"""`steer` and `groups`, each in one call. Imports nothing heavy until one is called."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sae_match.errors import UserError

if TYPE_CHECKING:
    import pandas

    from sae_match.evaluation.groups.circuits import Groups
    from sae_match.matching.result import Matching

Pair = tuple[int, int]
"""Source layer and target layer; of a feature, layer and number."""


def steer(
    model: object,
    saes: Mapping[int, object],
    matchings: Mapping[Pair, "Matching"],
    feature: Pair | Sequence[Pair],
    text: Iterable[str] | str | Path,
    *,
    strength: float | Sequence[float] = 1.0,
    where: str | Sequence[str] = ("first", "each"),
    nearest: Mapping[Pair, "Matching"] | None = None,
    tokenizer: object = None,
    documents: int = 8,
    max_tokens: int | None = None,
    bos: str | None = None,
    seed: int = 0,
    batch: int = 4,
    device: str = "auto",
) -> "pandas.DataFrame":
    """Steer along a feature's path: what happens to its later features, and to the next token.

    The feature's decoder direction is added to the residual stream on all tokens but BOS and padding: at the first
    layer of its path, or at each layer the direction of the path's feature there. Its path, where the matchings lead,
    is held against the nearest features, random live ones and a broken path; a row a number, with 95 % intervals over
    documents (`sae_match.evaluation.steering.measures.Row` has the columns).

    Args:
        model: `"bundled"`; a folder, a repository of the hub or a GGUF file, as `model.source` takes it; a causal
            language model of transformers, or a `ResidualStream`, with its `tokenizer`.
        saes: SAE of the residual stream after each layer.
        matchings: Of layers that follow one another, by pair: `{(3, 4): match(l3, l4), (4, 5): match(l4, l5)}`.
        feature: Layer and number of the feature that a path begins with, or several.
        text: Texts in a list; or a file or a folder of them.
        strength: Multiples of a feature's typical activation: its median where it is active in the text.
        where: `"first"`, `"each"` or both.
        nearest: Nearest features in place of those that the matchings' own way of pricing gives.
        tokenizer: Of a model that is given.
        documents: Most documents that are read of a file or folder.
        max_tokens: A text is cut off after so many tokens, BOS included.
        bos: Token that each text begins with, for a tokenizer that has no BOS.
        seed: Of draws and intervals.
        batch: Texts at a time.
        device: Where a model that is loaded goes.

    Raises:
        UserError: If a feature has no path, none is active in the text, or things do not fit each other.
    """
    from sae_match.evaluation.groups.settings import checked_members
    from sae_match.evaluation.steering.paths import Paths
    from sae_match.evaluation.steering.study import steered
    from sae_match.report.steering.reading import nearest_of
    from sae_match.semantics.features.opening import Reading, opened

    several = [feature] if isinstance(feature, tuple) and all(isinstance(one, int) for one in feature) else feature
    starts = checked_members(list(several), "feature")
    how = Reading("residual", documents, max_tokens, bos, 1, 1, seed, batch, device)
    what = opened(model, tokenizer, saes, text, how)
    by_distance = nearest_of(matchings, what.saes) if nearest is None else nearest
    table = steered(
        what.stream,
        what.sae,
        Paths.of(matchings, by_distance),
        starts,
        [one.to(what.device) for one in what.batches],
        strengths=[strength] if isinstance(strength, int | float) else list(strength),
        where=[where] if isinstance(where, str) else list(where),
        seed=seed,
    )
    return table.to_pandas()


def groups(
    matchings: Mapping[Pair, "Matching"],
    features: Iterable[Pair] | None = None,
    *,
    prompt: str | None = None,
    model: object = None,
    saes: Mapping[int, object] | None = None,
    tokenizer: object = None,
    most: int = 10,
    names: Mapping[Pair, str] | None = None,
    bos: str | None = None,
    device: str = "auto",
) -> "Groups":
    """Group features over layers: those that matchings make one are a group, which circuit tools read as a super-node.

    `groups(…).save("groups.json")` writes the layout of attribution graphs (`sae_match.evaluation.groups.circuits`).

    Args:
        matchings: By pair of layers; of significant pairs, `significance(l3, l4, matching).significant(0.05)`.
        features: Layer and number of each; or else a prompt:
        prompt: Text whose features are grouped; needs `model` and `saes`, as `steer` takes them.
        model: The language model.
        saes: SAE of the residual stream after each layer.
        tokenizer: Of a model that is given.
        most: Features of each layer that are taken of a prompt, the strongest.
        names: What features are called.
        bos: Token that the prompt begins with, for a tokenizer that has no BOS.
        device: Where a model that is loaded goes.

    Raises:
        UserError: If both or neither of features and prompt are given, or a feature is of no layer that is matched.
    """
    from sae_match.evaluation.groups.circuits import Groups
    from sae_match.evaluation.groups.members import grouped_by
    from sae_match.evaluation.groups.settings import checked_members

    if (features is None) == (prompt is None):
        raise UserError("groups are of given features, or of those of a prompt: give features=… or prompt=…")
    if features is not None:
        given = checked_members([tuple(one) for one in features], "features")
        return Groups(tuple(grouped_by(given, matchings, names)))
    if model is None or saes is None:
        raise UserError("a prompt is read by a model and its SAEs: give model=… and saes=…")

    from sae_match.report.steering.reading import groups_of_prompt

    return groups_of_prompt(
        prompt or "", matchings, model, tokenizer, saes, most=most, names=names, bos=bos, device=device
    )
