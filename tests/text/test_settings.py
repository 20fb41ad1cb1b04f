"""Names of datasets are those that results carry: one that could not be read again is refused before any work."""

import pytest

from sae_match.errors import UserError
from sae_match.evaluation.statistics.results import Result
from sae_match.report.foreign import refuse_no_names
from sae_match.text.settings import SourceSettings, TextSettings


@pytest.mark.parametrize(
    "name", ["", "new\nline", "tab\tname", "\u202egpj.exe", "half \ud83d", "\x1b[31m", "x" * 10_000]
)
def test_a_name_that_results_could_not_carry_is_refused(name):
    with pytest.raises(UserError, match=r"text\.datasets: .* is no name of a dataset: it must be up to 200") as caught:
        TextSettings({"prose": SourceSettings("sotu"), name: SourceSettings("sotu")})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


OTHERS = ["a$x_b_c", "[/x]", "=1+1", "a|b", "<b>", "\u4e2d\u6587", "\u05d0\u05d1", "\U0001f600", "../up"]


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_name_may_be_given_and_is_read_again(name, tmp_path):
    assert name in TextSettings({name: SourceSettings("sotu")}).datasets
    refuse_no_names([Result(3, 4, "matched", name, "l0", 1.0, None, None, 9, 2)], tmp_path / "results.csv")
