from dataclasses import replace

import pytest
import torch

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.model.settings import ModelSettings
from sae_match.semantics.collecting import collect
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.passages import Passages
from sae_match.semantics.questions import Question
from sae_match.semantics.sources import PublishedDescriptions, TextToRead
from tests.evaluation.validating import TEXT, collection_of, saved, text_of

MODEL = ModelSettings(str(bundled.path("model")))


def opened(collection, layers, text=TEXT, model=MODEL):
    return TextToRead(model, text, "cpu", collection, layers, seed=0)


def test_text_is_read_when_the_features_are_known(bundled_model):
    few, told = replace(TEXT, documents=2), []
    found = opened(collection_of(2, 3), [2, 3], few).gather({2: 1024, 3: 1024}, lambda *at: told.append(at))
    data, contexts = text_of(bundled_model[1], few), Contexts(seed=0)
    active = collect(bundled_model[0], "residual", collection_of(2, 3).open, {2: 1024, 3: 1024}, data.batches, contexts)
    assert torch.equal(found.active[3], active[3])
    feature = int(active[3].argmax())
    assert found.of(3, feature).text.startswith("Active on the tokens ")
    assert found.of(3, feature).profile == tuple(Passages(contexts, data.batches, bundled_model[1]).profile(3, feature))
    assert told[-1] == (len(data.batches), len(data.batches))


def test_what_cannot_be_read_is_refused_at_once(make_sae, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere \(model.source\)"):
        opened(collection_of(2, 3), [2, 3], model=ModelSettings("./nowhere"))
    with pytest.raises(UserError, match=r"text\.max_tokens=999999 is more than the model's"):
        opened(collection_of(2, 3), [2, 3], replace(TEXT, max_tokens=999999))
    with pytest.raises(UserError, match="an SAE is given for layer 8, the model has layers 0 to 7"):
        opened(collection_of(2, 3), [7, 8])
    narrow = saved({layer: make_sae(layer, d_in=64) for layer in (0, 1)}, tmp_path / "saes")
    with pytest.raises(UserError, match="SAE of layer 0 reads width 64, the model's residual has 128"):
        opened(narrow, [0, 1])


class Told:
    """Descriptions that say what they were asked to fetch."""

    def __init__(self):
        self.wanted = []

    def known(self, layer, features):
        assert layer in (4, 5)
        return [True] * features

    def of(self, layer, feature):
        return f"{layer} {feature}"

    def fetch(self, wanted, watch):
        self.wanted.append({layer: set(features) for layer, features in wanted.items()})
        watch("somewhere", 1, 1)


def test_descriptions_come_in_bulk_and_then_for_the_questions():
    descriptions, told = Told(), []
    evidence = PublishedDescriptions(descriptions).gather({4: 3, 5: 2}, lambda *at: told.append(at))
    assert evidence.known(5) == [True, True]
    evidence.fetch([Question("matched", 4, 2, 5, 1, 0), Question("random", 4, 2, 5, 0, 0)], lambda *at: told.append(at))
    assert descriptions.wanted == [{4: set(), 5: set()}, {4: {2}, 5: {0, 1}}]
    assert told == [(1, 1), (1, 1)]
    assert evidence.of(4, 2).text == "4 2"
