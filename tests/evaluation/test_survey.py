"""The survey against plain means over all tokens."""

import pytest
import torch

from sae_match.evaluation.arm_names import ARMS, OF_TWO_MODELS
from sae_match.evaluation.arms import stand_in
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.survey import Observer, Survey
from tests.evaluation.validating import collection_of, fitting_text, text_of, validated

OF_ONE_MODEL = [arm for arm in ARMS if arm not in OF_TWO_MODELS]


class Seen:
    """Keeps all that it is shown."""

    def __init__(self):
        self.shown = []

    def start(self, features, datasets):
        self.shown.append((dict(features), list(datasets)))

    def add(self, layer, batch, f):
        self.shown.append((layer, batch.dataset, batch.documents, f))

    def flat(self):
        return torch.zeros(0)

    def fill(self, flats):
        raise AssertionError(f"there is one process, not {len(flats)}")


@pytest.fixture(scope="module")
def run(bundled_model, tmp_path_factory):
    data, seen = text_of(bundled_model[1]), Seen()
    arms = [*OF_ONE_MODEL, "quantile_0.5"]
    folder = tmp_path_factory.mktemp("survey")
    fitting = fitting_text(bundled_model[1], data)
    told = {"fitting": fitting, "observers": [seen], "arms": arms, "spans": [1, 2], "rotations": 1}
    module = validated(bundled_model, folder, collection_of(2, 3, 4), data, **told)
    return module, data, seen


def measured(run):
    """Every batch with its residuals and features."""
    module, data, _ = run
    with torch.inference_mode():
        for batch in data.batches:
            yield batch, BatchMeasurement.captured(module.subject, batch, module.scope.pairs)


def test_references_are_means_of_errors_under_every_arm(run):
    module = run[0]
    errors = {}
    for batch, at in measured(run):
        for pair, arm, dataset in module.tally.layout.runs():
            if dataset == batch.dataset:
                error = stand_in(arm, at.stage(pair)) - at.features(pair[1]).x
                errors.setdefault((pair, arm, dataset), []).append(error.double())
    assert {arm for _, arm, _ in errors} == {*OF_ONE_MODEL, "quantile_0.5"}
    for key, several in errors.items():
        mean = torch.cat(several).mean(0)
        torch.testing.assert_close(module.tally.reference(key), mean, rtol=0, atol=2e-4)


def test_references_are_means_of_residuals_and_features(run):
    module = run[0]
    x, f = {}, {}
    for batch, at in measured(run):
        for layer in (2, 3, 4):
            x.setdefault((layer, batch.dataset), []).append(at.features(layer).x.double())
            f.setdefault((layer, batch.dataset), []).append(at.features(layer).f.double())
    for key, several in x.items():
        torch.testing.assert_close(module.tally.reference(key), torch.cat(several).mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(module.survey.mean_features(key), torch.cat(f[key]).mean(0), rtol=0, atol=1e-6)


def test_an_observer_sees_every_layer_of_every_batch_once(run):
    _, data, seen = run
    assert isinstance(seen, Observer)
    (started, *shown) = seen.shown
    assert started == (dict.fromkeys((2, 3, 4), 1024), ["prose", "code"])
    expected = [(layer, batch.dataset, batch.documents) for batch in data.batches for layer in (2, 3, 4)]
    assert sorted(entry[:3] for entry in shown) == sorted(expected)


def test_surveys_of_parts_add_up(run):
    module, data, _ = run
    layout, groups = module.tally.layout, [module.scope.pairs]
    whole, *parts = (Survey(layout) for _ in range(3))
    with torch.inference_mode():
        for number, batch in enumerate(data.batches):
            for survey in (whole, parts[number % 2]):
                survey.add(module.subject, batch, groups)
    together = Survey(layout)
    together.fill(parts[0].flat() + parts[1].flat())
    torch.testing.assert_close(together.flat(), whole.flat(), rtol=1e-12, atol=1e-9)
