import pytest

from sae_match.errors import UserError
from sae_match.model.loading import ModelSettings, load_model


def test_a_model_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"cannot load the model .*no_model.*hf auth login") as caught:
        load_model(ModelSettings(str(tmp_path / "no_model")))
    assert "\n" not in str(caught.value)


def test_float16_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.dtype must be one of float32, bfloat16, got 'float16'"):
        load_model(ModelSettings(str(tmp_path), dtype="float16"))
