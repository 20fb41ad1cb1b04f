"""Where the jobs of a sweep lie, and what the sweep is called: the same for every launcher."""

from pathlib import Path

#: What a job that failed says why in; a later attempt removes it.
ERROR_FILE = "error.txt"
#: Folder in that of a sweep that holds the comparison of its jobs.
COMPARISON = "comparison"
#: Table of features and in how many other dictionaries they are found, in a comparison.
STABILITY = "stability.csv"
#: Names of all that a comparison may write into its folder, as patterns.
COMPARED = (
    "comparison.csv",
    "comparison_by_layer.csv",
    "comparison_differences.csv",
    "comparison_over_seeds.csv",
    "comparison.md",
    STABILITY,
    "figures",
    "kind_*",
    "csv",
)


def sweep_folder(job: Path, subdir: str) -> Path:
    """Folder of the sweep whose job works in `job`, its place in that folder being `subdir`."""
    return job.parents[len(Path(subdir).parts) - 1]


def group_name(folder: Path, start: Path) -> str:
    """Name of the group of a sweep's runs: its folder, as seen from where the sweep was started.

    `multirun/validate/2026-01-31/12-00-00` is `validate/2026-01-31/12-00-00`; of a folder elsewhere the
    last three parts are taken.
    """
    parts = folder.relative_to(start).parts if folder.is_relative_to(start) else folder.parts[-3:]
    return "/".join(parts[1:] if parts[0] == "multirun" and len(parts) > 1 else parts)
