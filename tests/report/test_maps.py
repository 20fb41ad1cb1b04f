"""Maps: what colours mean, where they end, and what is beyond."""

import math

import numpy as np
import pytest

from sae_match.report.drawing import panels
from sae_match.report.maps import add_colours, draw_map, shades_of
from tests.report.readme import small_texts

# Three in the middle, and one far out.
OUTLYING = [0.5, 0.4, 0.45, 0.55, 0.48, 0.52, -1.9]


def test_signed_quantities_are_centred_at_zero():
    for metric, values in (("explained_variance", [0.2, 0.5]), ("delta_loss", [1.0, 2.0]), ("other", [-1.0, 2.0])):
        shades = shades_of(metric, values)
        assert shades.low == -shades.high == -max(map(abs, values))
        red, green, blue, _ = shades.of(0.0)
        assert min(red, green, blue) > 0.95
        assert shades.of(shades.low)[0] > shades.of(shades.low)[2]
        assert shades.of(shades.high)[2] > shades.of(shades.high)[0]


def test_others_go_from_the_least_to_the_largest():
    shades = shades_of("matching_score", [0.2, 0.5, 0.3, math.nan])
    assert (shades.low, shades.high, shades.values, shades.said) == (0.2, 0.5, 3, "")
    brightness = [sum(shades.of(value)[:3]) for value in np.linspace(0.2, 0.5, 20)]
    assert brightness == sorted(brightness)


def test_outliers_are_beyond_the_colours_and_counted():
    shades = shades_of("explained_variance", OUTLYING)
    assert (shades.low, shades.high, shades.below, shades.above) == (-0.55, 0.55, 1, 0)
    assert shades.said == "1 of 7 cells are beyond the ends of the colours"
    # As it would be if nothing were clipped, all others had the same colour.
    assert np.ptp([shades.of(value)[0] for value in OUTLYING[:-1]]) > 0.05
    assert shades_of("jaccard", [*map(abs, OUTLYING)]).above == 1


@pytest.mark.parametrize("values", [[], [math.nan], [0.0], [0.0, 0.0], [1.0] * 9, [0.0] * 8 + [1.0], [1e300, -1e300]])
@pytest.mark.parametrize("metric", ["explained_variance", "jaccard"])
def test_few_or_equal_values_have_colours_and_no_outliers(metric, values):
    shades = shades_of(metric, values)
    assert shades.low < shades.high
    assert shades.said == ""
    assert len(shades.of(0.0)) == 4


def test_a_map_says_its_values_and_what_is_clipped(tmp_path):
    figure, (panel,) = panels(1)
    shades = shades_of("explained_variance", OUTLYING)
    draw_map(panel, np.array([OUTLYING[:2], [math.nan, OUTLYING[-1]]]), shades)
    add_colours([panel], shades, "explained variance")
    assert [text.get_text() for text in panel.texts] == ["0.500", "0.400", "none", "-1.900"]
    assert figure.axes[1].get_ylabel() == "explained variance\n1 of 7 cells are beyond the\nends of the colours"
    assert small_texts(figure) == []
    # Letters are dark on bright cells and bright on dark ones.
    assert [text.get_color() for text in panel.texts][-2:] == ["k", "w"]
    figure.savefig(tmp_path / "map.png")
