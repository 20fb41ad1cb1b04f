"""Measure what is claimed about the matching, the evaluation and the explorer, side by side in one run.

python scripts/benchmark.py                       # everything; about half an hour on two cores
python scripts/benchmark.py 'cases=[exact,16k]'
"""

from pathlib import Path

from rich.console import Console

from sae_match.benchmark import evaluation, explorer, matching
from sae_match.benchmark.measuring import Figure, chosen, in_own_process, machine, table, write_csv, write_markdown
from sae_match.settings.benchmark import BenchmarkSettings
from sae_match.settings.entry import entry_point


@entry_point(Path(__file__).parents[1] / "conf" / "benchmark.yaml", BenchmarkSettings)
def main(settings: BenchmarkSettings) -> None:
    console = Console()
    console.print(machine(), highlight=False)
    file = Path(settings.output_dir) / "benchmark.csv"
    figures: list[Figure] = []
    validate = Path(__file__).with_name("validate.py")
    known = {**matching.cases(settings.seed), **evaluation.cases(validate), **explorer.cases()}
    for name, case in chosen(known, settings.cases).items():
        with console.status(name):
            found = in_own_process(case)
        figures += found
        console.print(table(found), highlight=False)
        write_csv(figures, file)
    figures += matching.growth(figures)
    write_csv(figures, file)
    write_markdown(figures, file.with_suffix(".md"))
    console.print(f"{file} and {file.with_suffix('.md').name} hold all of it", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
