import pytest

from sae_match.report.comparison.wording import setting_in_words, words


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ""),
        (
            {"matcher": "folded", "text.seed": 1, "model.revision": None},
            "matcher=folded, text.seed=1, model.revision=none",
        ),
        ({"sae.layers.3.l0": 6, "sae.layers.4.l0": 8}, "sae.layers.3.l0=6, sae.layers.4.l0=8"),
        ({f"sae.layers.{layer}.l0": layer * 2 for layer in (2, 10, 0, 1)}, "sae.layers.0,1,2,10.l0=0,2,4,20"),
        ({f"sae.layers.{layer}.l0": 12 for layer in range(26)}, "sae.layers.0…25.l0=12"),
        (
            {"seed": 1, **{f"a.{n}.{key}": n for n in range(3) for key in ("l0", "width")}, "b": None},
            "seed=1, a.0…2.l0=0,1,2, a.0…2.width=0,1,2, b=none",
        ),
        ({f"layers.{layer}": layer for layer in range(3)}, "layers.0…2=0,1,2"),
    ],
)
def test_settings_in_a_line_with_those_of_many_layers_told_once(settings, told):
    assert words(settings) == told


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("matcher", "matcher"),
        ("cache_dir", "cache dir"),
        ("sae.layers.3.l0", "L0 of layer 3 (sae.layers.3.l0)"),
        ("evaluation.fitting_documents", "fitting documents of evaluation (evaluation.fitting_documents)"),
    ],
)
def test_the_axis_of_a_setting_is_called_in_words(name, called):
    assert setting_in_words(name) == called
