"""`open_run`: what a finished run has found, as tables."""

import operator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas

from sae_match.errors import UserError, listed, shown
from sae_match.report.reading.files import RunFiles
from sae_match.report.reading.paths import path_of
from sae_match.report.reading.tables import Pair, by_pair, labels_first, with_causes

if TYPE_CHECKING:
    import sae_match.matching.result

_STATISTIC, _COSINES = "statistic", ["encoder_cosine", "decoder_cosine"]
# Of these less is better, of all other numbers more.
_LESS_IS_BETTER = ("cost", "p", "q")
_AGAIN = "the run was interrupted, or is of an earlier version; its command, given again, makes what is missing"
_NO_TEXT = (
    "scripts/match.py reads no text; a run of scripts/validate.py has it, and "
    "sae_match.features(model, saes, text) finds what features fire on"
)

_NOT_SWITCHED = "no feature was switched off; evaluation=causal asks for it"
_NO_ORIGINS = "it was not asked where features come from; mlp=… or attention=… asks, as experiment=provenance does"


def open_run(folder: str | Path) -> "OpenedRun":
    """Open the folder of a run of `validate` or `match`.

    Args:
        folder: Of the run, such as `outputs/validate/DATE/TIME`; of a sweep, that of one of its jobs.

    Raises:
        UserError: If it is none, or nothing was matched in it.
    """
    return OpenedRun(RunFiles.of(Path(folder).expanduser()))


class OpenedRun:
    """What a run has found, as tables of pandas; each file is read when it is asked for.

    Args:
        files: What the run's folder holds.
    """

    def __init__(self, files: RunFiles) -> None:
        self._files = files

    def __repr__(self) -> str:
        return f"OpenedRun({str(self.folder)!r}, layers {', '.join(self.layers)})"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._files.folder

    @property
    def layers(self) -> list[str]:
        """Layers that were matched, as they are called: `3`, or `3@seed_100` where there are two collections."""
        return self._files.ends

    @property
    def layer_pairs(self) -> list[Pair]:
        """Source and target layer of each matching."""
        return list(self._files.pairs)

    @property
    def results(self) -> pandas.DataFrame:
        """Every number by pair of layers: `results.csv`; of a run of `match`, `matchings.csv`, a row a pair.

        Raises:
            UserError: If it is missing or not sound.
        """
        name = "results.csv" if self._files.has_read_text else "matchings.csv"
        return self._files.table(self.folder / name, _AGAIN)

    @property
    def spans(self) -> pandas.DataFrame:
        """Means over pairs of layers at the same distance: `spans.csv`.

        Raises:
            UserError: If it is missing or not sound; `match` leaves none.
        """
        return self._files.table(self.folder / "spans.csv", self._lacking)

    def pairs(
        self,
        source: int,
        target: int,
        *,
        best: int | None = None,
        worst: int | None = None,
        by: str = _STATISTIC,
        long: bool = False,
    ) -> pandas.DataFrame:
        """The matched pairs of features of two layers, the cheapest first; or the best, the worst, or both.

        A row a pair, with a column a dataset for what is measured on text, as in `jaccard_prose`, and for what
        switching features off did, as in `carried_prose`, of a run that was asked. What both features fire on stands
        in `source_label` and `target_label`, of a run that has read text.

        Args:
            source: Layer.
            target: Layer; of the other collection, where there are two.
            best: So many of the best pairs, the best first.
            worst: So many of the worst, the worst first; behind the best, and without those, if both are wanted.
            by: Column that says how good a pair is. The statistic, the mean of the cosines of encoder and decoder, is
                what pairs are judged by: `p` and `q` follow from it, and tie where it does not. Of `cost`, `p` and `q`
                less is better, of any other more. A pair without a value is neither good nor bad.
            long: A row a pair and dataset, as in the file.

        Raises:
            UserError: If there is no such pair of layers, column or file.
        """
        pair = self._files.pair(source, target)
        table = self._files.table(self._files.of_pair("pairs", pair), _AGAIN)
        rows, every = labels_first(table), best is None and worst is None
        if long and every:
            return rows
        wide = by_pair(table)
        if self._files.of_pair("causal", pair).is_file():
            wide = with_causes(wide, self.causes(source, target))
        chosen = wide if every else _extremes(wide, best or 0, worst or 0, by)
        if not long:
            return chosen.reset_index(drop=True)
        place = {feature: number for number, feature in enumerate(chosen["source_feature"])}
        rows = rows[rows["source_feature"].isin(list(place))]
        return rows.sort_values("source_feature", key=lambda one: one.map(place), kind="stable", ignore_index=True)

    def causes(self, source: int, target: int) -> pandas.DataFrame:
        """What switching features of the source layer off did to those of the target layer.

        A row a feature and dataset, of a sample of features: for the matched partner, and for the controls beside it.

        Args:
            source: Layer.
            target: Layer; of the other collection, where there are two.

        Raises:
            UserError: If there is no such pair of layers, or the run was not asked.
        """
        return self._files.table(self._files.of_pair("causal", self._files.pair(source, target)), _NOT_SWITCHED)

    def origins(self, layer: int | str) -> pandas.DataFrame:
        """Where a layer's features come from, a row each: the layer before, its attention, its MLP, or none of them.

        Args:
            layer: As for `features`.

        Raises:
            UserError: If there is no such layer, or the run was not asked.
        """
        return self._files.table(self._files.of_end("provenance", self._files.end(layer)), _NO_ORIGINS)

    def features(self, layer: int | str) -> pandas.DataFrame:
        """The features of a layer, a row each in their order: label, top tokens, contexts, activity.

        Args:
            layer: Number, or of two collections `"3@seed_100"`; columns are those of
                `sae_match.semantics.features.table.feature_table`.

        Raises:
            UserError: If there is no such layer or file: a run of `match` has read no text.
        """
        end = self._files.end(layer)
        return self._files.table(self._files.of_end("features", end), self._lacking)

    def path(self, layer: int | str, feature: int) -> pandas.DataFrame:
        """The path of a feature over all layers, back to the first and on to the last that it is matched to.

        A row a layer: `layer`, `feature`, `label`, and of the step to the next layer cost, cosines, `q`, co-activation
        and all else that `pairs` has; nothing of these in the last row. A step leads to the nearest layer that was
        matched. A one-to-one matching gives nearly every feature a partner: `q` says which steps may be chance.

        Args:
            layer: As for `features`.
            feature: Of that layer.

        Raises:
            UserError: If there is no such layer, feature or file.
        """
        end = self._files.end(layer)
        feature = _whole(feature, "a feature is a whole number")
        width = self._files.width(end)
        if feature < 0 or (width is not None and feature >= width):
            there = "" if width is None else f", it has {width:,}, from 0 on"
            raise UserError(f"layer {end} has no feature {shown(feature)}{there}")
        label = self._label(end, feature)
        return path_of(self._files, end, feature, label, lambda pair: self.pairs(*pair))

    def matching(self, source: int, target: int) -> "sae_match.matching.result.Matching":
        """The matching of two layers, as `match` gave it.

        Raises:
            UserError: If there is no such pair of layers, or its file is damaged.
        """
        # Tables take no torch.
        from sae_match.matching.result import Matching

        return Matching.load(self._files.matching(self._files.pair(source, target)))

    def _label(self, end: str, feature: int) -> str | None:
        if not self._files.of_end("features", end).is_file():
            return None
        table = self.features(end)
        if "label" not in table or feature >= len(table):
            raise UserError(f"{self._files.of_end('features', end)} has no label of feature {shown(feature)}; {_AGAIN}")
        return str(table["label"].iloc[feature])

    @property
    def _lacking(self) -> str:
        return _AGAIN if self._files.has_read_text else _NO_TEXT


def _extremes(pairs: pandas.DataFrame, best: int, worst: int, by: str) -> pandas.DataFrame:
    """So many of the best pairs and of the worst, by a column."""
    for name, wanted in (("best", best), ("worst", worst)):
        if _whole(wanted, f"{name} is a number of pairs") < 0:
            raise UserError(f"{name} is a number of pairs, got {shown(wanted)}")
    value = _goodness(pairs, by).dropna()
    # Stable: of equal ones the cheaper.
    order = value.sort_values(ascending=by in _LESS_IS_BETTER, kind="stable").index
    first = order[:best]
    last = order[max(best, len(order) - worst) :][::-1]
    return pairs.loc[[*first, *last]]


def _goodness(pairs: pandas.DataFrame, by: str) -> pandas.Series:
    if by == _STATISTIC and (by not in pairs or pairs[by].isna().all()):
        # Where nothing was judged; the statistic is just that.
        try:
            return pairs[_COSINES].astype(float).mean(axis=1, skipna=False)
        except (KeyError, ValueError, TypeError) as error:
            has = listed(map(str, pairs), 40)
            raise UserError(
                f"pairs have no statistic, and no {' and '.join(_COSINES)} to take it from: {has}"
            ) from error
    numbers = [str(name) for name in pairs if pandas.api.types.is_numeric_dtype(pairs[name])]
    if by not in numbers:
        near = get_close_matches(str(by), numbers, n=1)
        hint = f"did you mean {near[0]}? They" if near else "they"
        raise UserError(f"pairs have no number {shown(by)}; {hint} have {listed(numbers, 40)}")
    return pairs[by]


def _whole(value: Any, told: str) -> int:
    """A whole number of Python or NumPy."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise UserError(f"{told}, got {shown(value)}") from error
