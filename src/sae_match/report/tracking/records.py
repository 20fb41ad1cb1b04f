"""What is logged of a validation, a comparison and a study of its own: plain data, which their rooms prepare."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from sae_match.evaluation.plan import Pair
from sae_match.matching.result import Matching
from sae_match.report.picture import Picture
from sae_match.report.tracking.logger import Logger, wandb_run
from sae_match.saes.two import pair_name
from sae_match.strings import visible

Rows = Sequence[Mapping[str, object]]

#: Most rows of a table that a dashboard is sent; larger tables are sampled.
MOST_PAIRS = 10_000
_LAYER = "layer"
# Folder of an offline run's own files.
_LOGGED = "logged"
_TABLES = ("results.csv", "spans.csv", "differences.csv", "warnings.csv", "unmatched.csv", "splits.csv", "lives.csv")


@dataclass(frozen=True)
class ValidationRecord:
    """Numbers of a validation as they are logged.

    Attributes:
        by_layer: For each target layer, every number by name.
        means: Means over pairs of layers and the ends of their intervals, by name.
        pairs: Matched features, with a row for each pair and dataset; none without any.
        costs: Costs of the pairs of two layers, each pair once.
        warnings: What should make one wary, a row a warning.
        names: Of two collections, if there are two.
    """

    by_layer: Mapping[int, Mapping[str, float]]
    means: Mapping[str, float]
    pairs: pa.Table | None = None
    costs: Mapping[Pair, Float64[np.ndarray, " pairs"]] = field(default_factory=dict)
    warnings: Rows = ()
    names: tuple[str, str] | None = None


def sampled(tables: Iterable[pa.Table], seed: int = 0) -> pa.Table:
    """All rows, or `MOST_PAIRS` of them drawn with `seed`, in order."""
    whole = pa.concat_tables(tables)
    if len(whole) <= MOST_PAIRS:
        return whole
    return whole.take(np.sort(np.random.default_rng(seed).choice(len(whole), MOST_PAIRS, replace=False)))


def log_validation(logger: Logger | None, record: ValidationRecord, pictures: Sequence[Picture], folder: Path) -> None:
    """Log per-layer charts, a summary, the table of pairs, histograms of their costs, and pictures with their numbers.

    Args:
        logger: Of the run.
        record: Its numbers.
        pictures: Already saved.
        folder: Where they are.
    """
    run = _run_or_csv(logger, record.means)
    if run is None:
        return
    import wandb

    run.define_metric(_LAYER)
    # The last layer's number would stand among the means.
    run.define_metric("by_layer/*", step_metric=_LAYER, summary="none")
    for layer, values in record.by_layer.items():
        run.log({_LAYER: layer, **{f"by_layer/{name}": value for name, value in values.items()}})
    if record.pairs is not None:
        data = [list(row) for row in zip(*(column.to_pylist() for column in record.pairs.columns), strict=True)]
        run.log({"pairs": table_of(record.pairs.column_names, data)})
    for pair, costs in record.costs.items():
        if np.isfinite(costs).any():
            run.log({f"pair_cost/{pair_name(pair, record.names)}": wandb.Histogram(costs[np.isfinite(costs)])})
    for picture in pictures:
        _log_picture(run, picture, folder)
    if record.warnings:
        run.log({"warnings": _table(record.warnings)})
    run.summary.update({**record.means, "warnings_given": len(record.warnings)})


def log_files(logger: Logger | None, folder: Path) -> None:
    """Log what a finished validation has left as artifacts: its matchings with their provenance, and its results.

    The artifact of type `matching` is called by its content, so that runs with the same matchings share one.
    That of type `results` holds the tables and pictures as files; what is logged otherwise is left out.

    Args:
        logger: Of the run.
        folder: Of the run.
    """
    if (run := wandb_run(logger)) is None:
        return
    matchings = sorted((folder / "matchings").glob("*.safetensors"))
    if matchings:
        content = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in matchings))
        pairs = {file.stem: _provenance(file) for file in matchings}
        _log_artifact(run, f"matchings-{content.hexdigest()[:12]}", "matching", matchings, folder, {"pairs": pairs})
    tables = [
        *(folder / name for name in _TABLES if (folder / name).is_file()),
        *sorted((folder / "pairs").glob("*.parquet")),
        *sorted((folder / "relations").glob("*.parquet")),
        *sorted((folder / "causal").glob("*.parquet")),
    ]
    files = [*tables, *sorted((folder / "figures").glob("*.svg"))]
    _log_artifact(run, f"results-{run.id}", "results", files, folder, {})


def log_study(
    logger: Logger | None,
    means: Mapping[str, float],
    tables: Mapping[str, Rows],
    pictures: Sequence[Picture],
    folder: Path,
) -> None:
    """Log a study without a validation: means as the summary, tables row by row, pictures with their numbers.

    Args:
        logger: Of the run.
        means: By name: mean scores of judges, or effects of steering.
        tables: All that they are means of, by name: every answer of each judge, every path.
        pictures: Already saved.
        folder: Where they are.
    """
    run = _run_or_csv(logger, means)
    if run is None:
        return
    run.log({name: _table(rows) for name, rows in tables.items()})
    for picture in pictures:
        _log_picture(run, picture, folder)
    run.summary.update(dict(means))


def log_comparison(logger: Logger | None, pictures: Sequence[Picture], folder: Path, prefix: str = "") -> None:
    """Log pictures of runs side by side with their numbers, and the tables as an artifact of type `comparison`.

    Args:
        logger: Of the comparison.
        pictures: Already saved in `folder/figures`.
        folder: Of the comparison.
        prefix: What their names begin with, where several comparisons are logged.
    """
    if (run := wandb_run(logger)) is None:
        return
    for picture in pictures:
        _log_picture(run, picture, folder / "figures", prefix)
    files = [*sorted(folder.glob("comparison*.*")), *sorted((folder / "figures").glob("*.svg"))]
    _log_artifact(run, f"comparison-{prefix.replace('/', '-')}{run.id}", "comparison", files, folder, {})


def _run_or_csv(logger: Logger | None, numbers: Mapping[str, float]) -> Any:
    """The W&B run to log to; where numbers go into a CSV file instead, they are written, and there is none."""
    if logger is None:
        return None
    from lightning.pytorch.loggers import CSVLogger

    if isinstance(logger, CSVLogger):
        logger.log_metrics(dict(numbers))
        logger.save()
    return wandb_run(logger)


def _log_picture(run: Any, picture: Picture, folder: Path, prefix: str = "") -> None:
    import wandb

    image = wandb.Image(str(folder / f"{picture.name}.png"))
    run.log({f"figures/{prefix}{picture.name}": image, f"numbers/{prefix}{picture.name}": _table(picture.rows)})


def _table(rows: Rows) -> Any:
    return table_of(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def table_of(columns: Sequence[str], data: list[list[object]]) -> Any:
    """A `wandb.Table` of rows.

    W&B infers the types of columns anew with each row, seconds for ten thousand. Where the values of each column are of
    one plain type, or missing, a row of one value of each tells as much.
    """
    import wandb

    by_column = list(zip(*data, strict=True))
    if not all(map(_is_plain, by_column)):
        return wandb.Table(columns=list(columns), data=data)
    telling = [next((value for value in values if value is not None), None) for values in by_column]
    table = wandb.Table(columns=list(columns), data=[telling] if data else [])
    table.data = data
    return table


def _is_plain(values: Iterable[object]) -> bool:
    """Whether all values that are there are numbers, all are texts, or all are true or false."""
    kinds = {type(value) for value in values} - {type(None)}
    return any(kinds <= plain for plain in ({int, float}, {str}, {bool}))


def _cell(value: object) -> object:
    """A value as W&B can store it: a half of a character has no place in JSON."""
    return visible(value) if isinstance(value, str) else value


def _log_artifact(
    run: Any, name: str, kind: str, files: Sequence[Path], folder: Path, metadata: dict[str, Any]
) -> None:
    import wandb

    artifact = wandb.Artifact(name, kind, metadata=metadata)
    for file in files:
        # Not copied: an offline run is uploaded from where the files are.
        artifact.add_file(str(file), file.relative_to(folder).as_posix(), policy="immutable")
    run.log_artifact(artifact)
    if run.offline:
        _keep_with_run(run, files, folder)


def _keep_with_run(run: Any, files: Sequence[Path], folder: Path) -> None:
    """Lay files below those of an offline run as well, which are uploaded from wherever the run lies by then.

    An artifact names whole paths. From a run that was moved W&B uploads none of it, and says nothing.
    """
    for file in files:
        beside = Path(run.dir) / _LOGGED / file.relative_to(folder)
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        try:
            os.link(file, beside)
        except OSError:
            # Two disks, or one that knows no links.
            shutil.copyfile(file, beside)
        run.save(escape(str(beside)), base_path=run.dir, policy="now")


def _provenance(file: Path) -> dict[str, object]:
    matching = Matching.load(file)
    proven = {"cost": matching.cost, "lower_bound": matching.lower_bound}
    return {**matching.provenance, **{name: value if math.isfinite(value) else None for name, value in proven.items()}}
