"""The mathematics stays free of frameworks: imported alone, it brings in none of them."""

import subprocess
import sys

import pytest

BANNED = ("lightning", "hydra", "omegaconf", "wandb", "transformers", "datasets", "matplotlib")
REPORT = f"import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & set({BANNED!r})))"


def brought_in(statement: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", f"{statement}; {REPORT}"], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import sae_match",
        "import sae_match.matching.cache, sae_match.matching.baselines",
        "import sae_match.saes.collection, sae_match.matching.matching_error",
    ],
)
def test_saes_and_matching_import_no_framework(statement):
    assert brought_in(statement) == []


def test_the_check_can_fail():
    assert "transformers" in brought_in("import sae_match.model.residual_stream")
