"""Offline W&B runs, read back with W&B's own reader."""

import json
from pathlib import Path

from tests import programs


def read_back(run: Path, *options: str) -> list[dict]:
    """Records of an offline run, as W&B's own reader prints them."""
    done = programs.run("-m", "wandb", "leet", "inspect", "--json", *options, run)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def only_run(folder: Path) -> list[dict]:
    """Records of the one offline run below a folder."""
    (run,) = folder.glob("wandb/offline-run-*")
    return read_back(run)


def about(records: list[dict]) -> dict:
    """Name, group, job type and config of a run."""
    (run,) = (record["run"] for record in records if record["type"] == "run")
    return run


def artifacts(records: list[dict]) -> dict[str, dict]:
    """Artifacts that were logged on purpose, by type."""
    logged = [record["artifact"] for record in records if record["type"] == "artifact"]
    return {one["type"]: one for one in logged if one["type"] != "run_table"}


def history_names(records: list[dict]) -> set[str]:
    """Names that were charted, drawn or tabled."""
    items = (record["history"]["item"] for record in records if record["type"] == "history")
    return {strip(name) for item in items for name in item}


def summary_names(records: list[dict]) -> set[str]:
    """Names in the summary."""
    return {name for record in records if record["type"] == "summary" for name in record["summary"]["update"]}


def strip(name: str) -> str:
    """`figures/x` of `figures/x._type`: media have records of several parts."""
    for part in ("._type", ".bins", ".values", ".path", ".sha256", ".size"):
        name = name.removesuffix(part)
    return name
