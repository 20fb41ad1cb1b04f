"""Weights & Biases: the only module that imports it."""

import hashlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import wandb
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from sae_match.errors import UserError
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.results import Results, SpanResult
from sae_match.matching.result import Matching
from sae_match.report.pictures import Picture
from sae_match.report.tables import charts, summary
from sae_match.report.tracking.settings import LoggerSettings, refuse_unknown_logger
from sae_match.report.validation.pairs import sampled

Mode = Literal["online", "offline", "disabled", "shared"]
_LAYER = "layer"
_WEAVE_SWITCH = "WANDB_DISABLE_WEAVE"


@contextmanager
def open_logger(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> Iterator[Logger | None]:
    """Lightning logger of a run, closed at the end whatever happens.

    Raises:
        UserError: If the kind or the mode does not exist.
    """
    refuse_unknown_logger(settings)
    if settings.kind == "none" or (settings.kind == "wandb" and getattr(rank_zero_only, "rank", 0) > 0):
        yield None
    elif settings.kind == "csv":
        yield CSVLogger(folder, name="csv", version="")
    else:
        try:
            yield _wandb_logger(settings, folder, config)
        finally:
            # A run left open would be taken up by the next job of a sweep.
            wandb.finish()


def log_validation(
    logger: Logger | None,
    results: Results,
    spans: Sequence[SpanResult],
    pairs: Mapping[Pair, pa.Table],
    pictures: Sequence[Picture],
    folder: Path,
) -> None:
    """Log per-layer charts, a summary, the table of pairs, histograms of their costs, and pictures with their numbers.

    Args:
        logger: Of the run.
        results: Of every pair, arm and dataset.
        spans: Means over pairs of layers at the same distance.
        pairs: Tables of matched features.
        pictures: Already saved.
        folder: Where they are.
    """
    if isinstance(logger, CSVLogger):
        logger.log_metrics(dict(summary(spans).items()))
        logger.save()
    if not isinstance(logger, WandbLogger):
        return
    run = logger.experiment
    run.define_metric(_LAYER)
    # The last layer's number would stand among the means.
    run.define_metric("by_layer/*", step_metric=_LAYER, summary="none")
    for layer, values in charts(results):
        run.log({_LAYER: layer, **{f"by_layer/{name}": value for name, value in values.items()}})
    if pairs:
        rows = sampled(pairs.values())
        data = [list(row) for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)]
        run.log({"pairs": wandb.Table(columns=rows.column_names, data=data)})
    for (source, target), table in pairs.items():
        # Every pair of features has a row for each dataset, at the same cost.
        costs = table["cost"].to_numpy()[: len(table) // max(1, len(pc.unique(table["dataset"])))]
        if np.isfinite(costs).any():
            run.log({f"pair_cost/L{source:02d}-L{target:02d}": wandb.Histogram(costs[np.isfinite(costs)])})
    for picture in pictures:
        _log_picture(run, picture, folder)
    run.summary.update(summary(spans))


def log_files(logger: Logger | None, folder: Path) -> None:
    """Log what a finished run has left as artifacts: its matchings with their provenance, and its results.

    The artifact of type `matching` is called by its content, so that runs with the same matchings share one.
    That of type `results` holds the tables and pictures as files; what is logged otherwise is left out.

    Args:
        logger: Of the run.
        folder: Of the run.
    """
    if not isinstance(logger, WandbLogger):
        return
    matchings = sorted((folder / "matchings").glob("*.safetensors"))
    if matchings:
        content = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in matchings))
        pairs = {file.stem: _provenance(file) for file in matchings}
        _log_artifact(logger, f"matchings-{content.hexdigest()[:12]}", "matching", matchings, folder, {"pairs": pairs})
    tables = [folder / "results.csv", folder / "spans.csv", *sorted((folder / "pairs").glob("*.parquet"))]
    files = [*tables, *sorted((folder / "figures").glob("*.svg"))]
    _log_artifact(logger, f"results-{logger.experiment.id}", "results", files, folder, {})


def log_judgements(
    logger: Logger | None,
    scores: Mapping[str, float],
    tables: Mapping[str, Sequence[Mapping[str, object]]],
    pictures: Sequence[Picture],
    folder: Path,
) -> None:
    """Log what judges said: mean scores as the summary, every answer in tables, pictures with their numbers.

    Args:
        logger: Of the run.
        scores: Mean scores by name.
        tables: Every answer of each judge, and how far they agree, by name.
        pictures: Already saved.
        folder: Where they are.
    """
    if isinstance(logger, CSVLogger):
        logger.log_metrics(dict(scores))
        logger.save()
    if not isinstance(logger, WandbLogger):
        return
    run = logger.experiment
    run.log({name: _table(rows) for name, rows in tables.items()})
    for picture in pictures:
        _log_picture(run, picture, folder)
    run.summary.update(dict(scores))


def log_comparison(logger: Logger | None, pictures: Sequence[Picture], folder: Path, prefix: str = "") -> None:
    """Log pictures of runs side by side with their numbers, and the tables as an artifact of type `comparison`.

    Args:
        logger: Of the comparison.
        pictures: Already saved in `folder/figures`.
        folder: Of the comparison.
        prefix: What their names begin with, where several comparisons are logged.
    """
    if not isinstance(logger, WandbLogger):
        return
    for picture in pictures:
        _log_picture(logger.experiment, picture, folder / "figures", prefix)
    files = [*sorted(folder.glob("comparison*.*")), *sorted((folder / "figures").glob("*.svg"))]
    name = f"comparison-{prefix.replace('/', '-')}{logger.experiment.id}"
    _log_artifact(logger, name, "comparison", files, folder, {})


def _log_picture(run: wandb.Run, picture: Picture, folder: Path, prefix: str = "") -> None:
    image = wandb.Image(str(folder / f"{picture.name}.png"))
    run.log({f"figures/{prefix}{picture.name}": image, f"numbers/{prefix}{picture.name}": _table(picture.rows)})


def _table(rows: Sequence[Mapping[str, object]]) -> wandb.Table:
    return wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _log_artifact(
    logger: WandbLogger, name: str, kind: str, files: Sequence[Path], folder: Path, metadata: dict[str, Any]
) -> None:
    artifact = wandb.Artifact(name, kind, metadata=metadata)
    for file in files:
        # Not copied: an offline run is uploaded from where the files are.
        artifact.add_file(str(file), file.relative_to(folder).as_posix(), policy="immutable")
    logger.experiment.log_artifact(artifact)


def _provenance(file: Path) -> dict[str, object]:
    matching = Matching.load(file)
    proven = {"cost": matching.cost, "lower_bound": matching.lower_bound}
    return {**matching.provenance, **{name: value if math.isfinite(value) else None for name, value in proven.items()}}


def where_to_look(logger: Logger | None) -> str | None:
    """One line that says where a W&B run is, and how an offline one is uploaded."""
    if not isinstance(logger, WandbLogger):
        return None
    run = logger.experiment
    if run.disabled:
        return "disabled"
    return f"offline; upload with: wandb sync {Path(run.dir).parent}" if run.offline else str(run.url)


def chosen_mode(settings: LoggerSettings) -> Mode:
    """Mode that W&B is started in, found without asking the user or the network."""
    mode = os.environ.get("WANDB_MODE") or settings.mode
    if mode != "auto":
        return cast(Mode, mode)
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def default_entity() -> str:
    """Whose projects they are that W&B has credentials for."""
    return str(wandb.Api().default_entity)


@contextmanager
def _without_advertisement() -> Iterator[None]:
    """Keep W&B from advertising Weave to every program that has imported a client such as openai.

    Their switch turns Weave off altogether, so it is left alone where the program uses Weave or the user has set it.
    """
    if "weave" in sys.modules or _WEAVE_SWITCH in os.environ:
        yield
        return
    os.environ[_WEAVE_SWITCH] = "true"
    try:
        yield
    finally:
        os.environ.pop(_WEAVE_SWITCH, None)


def _wandb_logger(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> WandbLogger:
    try:
        with _without_advertisement():
            run = _wandb_run(settings, folder, config)
    except wandb.Error as error:
        raise UserError(f"W&B cannot start: {error}; logger=offline, csv or none do without its server") from error
    run.define_metric("*", step_metric="trainer/global_step")
    return WandbLogger(experiment=run)


def _wandb_run(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> wandb.Run:
    return wandb.init(
        project=settings.project,
        name=settings.name,
        # Whole: a service that another program has started takes a relative one from its own folder.
        dir=folder.absolute(),
        entity=settings.entity,
        group=settings.group,
        job_type=settings.job_type,
        tags=settings.tags,
        config=config,
        mode=chosen_mode(settings),
        settings=wandb.Settings(silent=True),
    )
