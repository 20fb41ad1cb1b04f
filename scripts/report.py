"""Compare finished validations: tables and pictures of any number of runs.

python scripts/report.py runs=multirun/validate/DATE/TIME           # the jobs of a sweep
python scripts/report.py 'runs=[outputs/validate/DATE,DIR]'         # every run below some folders
python scripts/report.py runs=DIR 'arms=[matched,nearest]' 'metrics=[jaccard]'
"""

from pathlib import Path

from rich.console import Console

from sae_match.report.comparison.comparing import compare
from sae_match.settings.entry import entry_point
from sae_match.settings.report import ReportSettings


@entry_point(Path(__file__).parents[1] / "conf" / "report.yaml", ReportSettings)
def main(settings: ReportSettings) -> None:
    compare(
        settings.folders,
        Path(settings.output_dir),
        Console(),
        settings.logger,
        arms=settings.arms,
        metrics=settings.metrics,
    )


if __name__ == "__main__":
    main()
