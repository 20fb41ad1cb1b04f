import io

import pytest
import torch
from rich.console import Console

from sae_match.training.finished import Outcome
from sae_match.training.sae_recipe import SAERecipe
from sae_match.training.sae_settings import SAETrainingSettings, settled
from sae_match.training.tables import doubts, print_plan, print_results
from tests.training.words import as_text, small_stream, word_tokenizer


@pytest.fixture
def recipe(tmp_path):
    settings = settled(SAETrainingSettings(layers=[0, 1], d_sae=1000, steps=10, batch=1000, context=16), 2, 12)
    return SAERecipe(settings, small_stream(), word_tokenizer(), as_text(tmp_path, words=[]), tmp_path / "saes", "mine")


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_the_plan_says_what_memory_it_takes(recipe, console):
    print_plan(console, recipe, torch.device("cpu"))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert "model       mine (2 layers, d = 12, float32, on cpu)" in lines
    assert "SAEs        1,000 features, L0 7" in lines
    assert "text        10,000 tokens of words, in crops of 16" in lines
    # Two layers of 2 x 12 x 1,000 weights, 2,000 biases and thresholds and 12 of b_dec, 16 bytes each.
    assert "parameters  0.00083 GB with gradients and optimiser" in lines
    assert "buffer      0.00048 GB: 10,000 activations of each layer" in lines


def outcome(**changes):
    given = {
        "l0": 7.25,
        "explained_variance": 0.8,
        "explained_variance_usual": 0.8,
        "explained_variance_by_dimension": 0.7,
        "explained_variance_by_dimension_usual": 0.7,
        "explained_variance_normed": 0.75,
        "largest_dimension": 0.1,
        "dead": 3,
        "features": 1000,
        "extreme": 0,
        "tokens": 4,
        "file": "layer_0/width_3/average_l0_1/params.npz",
    }
    return Outcome(**{**given, **changes})


def test_the_results_name_files_and_the_next_commands(recipe, console):
    print_results(console, recipe, dict.fromkeys((0, 1), outcome()), "offline")
    printed = console.file.getvalue()
    assert "On 4 held-out tokens" in printed
    assert ["0", "7", "7.25", "0.800", "0.700", "0.750", "3"] in [line.split()[:7] for line in printed.splitlines()]
    assert "layer_0/width_3/average_l0_1" in printed
    assert f"python scripts/match.py sae=folder sae.source={recipe.destination}" in printed
    assert "W&B: offline" in printed
    assert "warning" not in printed


def test_tokens_that_training_left_out_do_not_hide_what_an_sae_does_on_all_others(recipe, console):
    spoilt = outcome(extreme=2, explained_variance=-0.5, explained_variance_by_dimension=-1.0)
    print_results(console, recipe, {0: outcome(), 1: spoilt}, None)
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["0", "7", "7.25", "0.800", "0.700", "0.750", "3", "0", "0.800"] in [row[:9] for row in rows]
    assert ["1", "7", "7.25", "0.800", "0.700", "0.750", "3", "2", "-0.500"] in [row[:9] for row in rows]
    assert "Tokens of extreme norm" in console.file.getvalue()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dead": 101}, "more than 10% of the features are never active"),
        ({"explained_variance_by_dimension_usual": 0.39}, "explain less than 0.4 of the variance by dimension"),
        ({"l0": 11.0}, "the L0 is far from the one that was aimed at"),
        ({"largest_dimension": 0.21}, "one dimension has more than 20% of the variance"),
    ],
)
def test_what_should_keep_one_from_using_an_sae_is_said(recipe, changes, words):
    assert list(doubts({0: outcome(), 1: outcome()}, recipe.settings)) == []
    (line,) = doubts({0: outcome(), 1: outcome(**changes)}, recipe.settings)
    assert line.startswith("layers 1: ")
    assert words in line
