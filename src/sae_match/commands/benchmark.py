"""Measure what is claimed about the matching, the evaluation and the explorer, side by side in one run."""

import sys
from pathlib import Path

from sae_match.benchmark import causal, evaluation, explorer, matching, significance, training
from sae_match.benchmark.measuring import (
    Case,
    Figure,
    chosen,
    in_own_process,
    machine,
    table,
    write_csv,
    write_markdown,
)
from sae_match.benchmark.random_models import gpu, memory, scale
from sae_match.benchmark.relations import cases as relations
from sae_match.errors import UserError
from sae_match.settings.tools import BenchmarkSettings
from sae_match.terminal import Terminal, say


def main(settings: BenchmarkSettings) -> None:
    """Measure the chosen cases, and leave the figures as CSV and Markdown."""
    console = Terminal()
    console.print(machine(), highlight=False)
    file = Path(settings.output_dir) / "benchmark.csv"
    figures: list[Figure] = []
    kept = Path(settings.kept) if settings.kept else file.parent / "significance"
    validate = [sys.executable, "-m", "sae_match", "validate"]
    known: dict[str, Case] = {
        **matching.cases(settings.seed),
        **evaluation.cases(validate),
        **causal.cases(),
        **memory.cases(settings.seed),
        **explorer.cases(),
        **training.cases(),
        **significance.cases(settings.seeds, settings.seed, kept),
        **relations.cases(settings.seeds, settings.seed),
        **scale.cases(validate, settings.seed, scale.of(settings.pairs, settings.tokens)),
    }
    on_gpu = gpu.cases(settings.seed, validate)
    failed = []
    for name, case in chosen(known, {gpu.GROUP: on_gpu}, settings.cases).items():
        try:
            with console.status(name):
                found = in_own_process(case)
        except UserError as error:
            failed.append(name)
            say(console, (f"{name} failed: {error}", "red"))
            continue
        figures += found
        console.print(table(found), highlight=False)
        write_csv(figures, file)
    figures += matching.growth(figures)
    write_csv(figures, file)
    write_markdown(figures, file.with_suffix(".md"))
    say(console, f"{file} and {file.with_suffix('.md').name} hold all of it")
    if failed:
        raise UserError(f"of the cases, {', '.join(failed)} failed; the others' figures are in {file}")
