"""The features of a layer as a table: what each is called, what it fires on, where, and how often."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.semantics.passages import Passage, Passages

# Tokens of the sample that are listed of a feature, and features that are looked at together.
_TOKENS, _TOGETHER = 10, 2048
_TOKEN = pa.struct([("token", pa.string()), ("count", pa.int64())])
_CONTEXT = pa.struct(
    [
        ("before", pa.string()),
        ("token", pa.string()),
        ("after", pa.string()),
        ("value", pa.float64()),
        ("dataset", pa.string()),
        ("document", pa.int64()),
        ("position", pa.int64()),
    ]
)
_MEANING = {
    "label": pa.string(),
    "description": pa.string(),
    "top_tokens": pa.list_(_TOKEN),
    "sampled": pa.int64(),
    "contexts": pa.list_(_CONTEXT),
}


@runtime_checkable
class Published(Protocol):
    """Descriptions of features that others have published."""

    def of(self, layer: int, feature: int) -> str | None:
        """The description of a feature; none where it has none."""


@dataclass(frozen=True, eq=False)
class Activity:
    """How often the features of a layer were active.

    Attributes:
        active: Tokens on which each feature was active, by dataset.
        mean: Mean value of each feature where it is active; nan where it never was.
        tokens: Tokens of all datasets.
    """

    active: Mapping[str, Int64[Tensor, " d_sae"]]
    mean: Float64[Tensor, " d_sae"]
    tokens: int


def feature_table(
    end: int,
    layer: int,
    activity: Activity,
    passages: Passages | None,
    described: Published | None = None,
    collection: str | None = None,
) -> pa.Table:
    """A row a feature, in their order.

    Columns: `layer`; `collection`, where there are two; `feature`; `label`, its published description, else what it
    fires on; `description`, the published one, null where there is none; `dead`, whether it was never active; `tokens`
    in all, and on how many of them it was `active`, in all and by dataset (`active_prose`); `mean_activation` where it
    is active; `top_tokens`, up to ten tokens with the `count` of each among those `sampled` of all on which it is
    active, in proportion to its value; `contexts`, where it is strongest, each in another document: the text `before`
    the token, the `token`, the text `after` it, and `value`, `dataset`, `document` and `position`.

    Args:
        end: What passages and descriptions know the layer by.
        layer: Its number.
        activity: Of its features.
        passages: Where features fire; without, labels are empty and nothing is listed.
        described: Published descriptions.
        collection: What the collection is called, where there are two.
    """
    every = list(activity.active.values())
    active = sum(every[1:], every[0].clone()).numpy()
    count = len(active)
    parts = [
        _meaning(end, range(first, min(first + _TOGETHER, count)), passages, described)
        for first in range(0, count, _TOGETHER)
    ]
    meaning = pa.concat_tables(parts)
    called = {} if collection is None else {"collection": pa.array([collection] * count, pa.string())}
    return pa.table(
        {
            "layer": pa.array([layer] * count, pa.int64()),
            **called,
            "feature": pa.array(range(count), pa.int64()),
            "label": meaning["label"],
            "description": meaning["description"],
            "dead": active == 0,
            "tokens": pa.array([activity.tokens] * count, pa.int64()),
            "active": active,
            **{f"active_{dataset}": counts.numpy() for dataset, counts in activity.active.items()},
            "mean_activation": pa.array(activity.mean.numpy(), pa.float64(), from_pandas=True),
            **{name: meaning[name] for name in ("top_tokens", "sampled", "contexts")},
        }
    )


def _meaning(end: int, features: range, passages: Passages | None, described: Published | None) -> pa.Table:
    """What some features are about, by column."""
    rows = [_row(end, feature, passages, described) for feature in features]
    return pa.Table.from_pylist(rows, pa.schema(_MEANING.items()))


def _row(end: int, feature: int, passages: Passages | None, described: Published | None) -> dict[str, object]:
    description = None if described is None else described.of(end, feature)
    if passages is None:
        return {"label": description or "", "description": description, "top_tokens": [], "sampled": 0, "contexts": []}
    sample = passages.sampled(end, feature)
    top = Counter(sample).most_common(_TOKENS)
    return {
        "label": description or passages.label(end, feature),
        "description": description,
        "top_tokens": [{"token": token, "count": count} for token, count in top],
        "sampled": len(sample),
        "contexts": list(_contexts(passages.strongest(end, feature))),
    }


def _contexts(found: list[Passage]) -> Iterator[dict[str, object]]:
    for one in found:
        yield {
            "before": "".join(one.tokens[: one.position]),
            "token": one.tokens[one.position],
            "after": "".join(one.tokens[one.position + 1 :]),
            "value": one.place.value,
            "dataset": one.place.dataset,
            "document": one.place.document,
            "position": one.place.position,
        }
