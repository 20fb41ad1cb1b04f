import pytest

from sae_match.errors import UserError
from sae_match.evaluation.causal.settings import CausalSettings, refuse_unswitchable
from sae_match.evaluation.settings import EvaluationSettings


def test_by_default_nothing_is_asked():
    assert not EvaluationSettings().causal.asked
    assert CausalSettings(features="all").most is None
    assert CausalSettings(features=7).most == 7


@pytest.mark.parametrize("features", [-1, "every", 2.5, True, None])
def test_features_that_are_no_number_are_refused(features):
    with pytest.raises(UserError, match=r"evaluation\.causal\.features must be a number of features"):
        EvaluationSettings(causal=CausalSettings(features=features))


def test_no_document_is_refused():
    with pytest.raises(UserError, match=r"evaluation\.causal\.documents must be at least 1, got 0"):
        EvaluationSettings(causal=CausalSettings(features=5, documents=0))


def test_what_is_asked_of_matched_features_needs_the_arm():
    with pytest.raises(UserError, match="have matched among evaluation"):
        EvaluationSettings(arms=["layer_drop"], causal=CausalSettings(features=5))


def test_another_site_and_another_model_are_refused():
    refuse_unswitchable(CausalSettings(), "mlp", True, False)
    asked = CausalSettings(features=5)
    refuse_unswitchable(asked, "residual", False, True)
    with pytest.raises(UserError, match="these SAEs read the site mlp"):
        refuse_unswitchable(asked, "mlp", False, True)
    with pytest.raises(UserError, match="cannot be asked of two language models"):
        refuse_unswitchable(asked, "residual", True, True)
