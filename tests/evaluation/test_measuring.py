"""How often the host waits for the device while a batch is measured: exact numbers, which say where."""

from dataclasses import replace

import pytest
import torch

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.arm_names import ARMS, OF_TWO_MODELS
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.fitting import FittingPass
from sae_match.evaluation.passes.joining import Joining
from sae_match.evaluation.passes.measurement import measure_batch
from sae_match.evaluation.passes.state import State
from sae_match.evaluation.plan import arms_of
from sae_match.evaluation.resuming import UnfinishedRun
from sae_match.evaluation.statistics.tally import Tally
from sae_match.evaluation.survey import Survey
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.semantics.contexts import Contexts
from tests.evaluation.validating import collection_of, fitting_text, text_of, validated
from tests.evaluation.waiting import Waits, elsewhere, without_values

LAYERS, PAIRS = (2, 3, 4), [(2, 3), (2, 4), (3, 4)]


@pytest.fixture(scope="module")
def batch(bundled_model):
    return text_of(bundled_model[1]).batches[0]


OF_ONE_MODEL = [arm for arm in ARMS if arm not in OF_TWO_MODELS]


@pytest.fixture(scope="module")
def module(bundled_model, tmp_path_factory):
    data = text_of(bundled_model[1])
    fitting, folder = fitting_text(bundled_model[1], data), tmp_path_factory.mktemp("run")
    arms = [*OF_ONE_MODEL, "quantile_0.5"]
    return validated(bundled_model, folder, collection_of(*LAYERS), data, None, fitting, arms=arms, spans=[1, 2])


@pytest.fixture
def tally(module):
    """Sums over nothing, about what the module has found."""
    empty = Tally(module.tally.layout, module.tally.references)
    empty.landmarks = module.tally.landmarks
    return empty


@pytest.fixture
def weights(batch):
    return bootstrap_weights(batch.dataset, batch.documents, 0)


def measured_elsewhere(at):
    """A batch's measurement, all that it holds and all that it is of, on a device without values."""
    saes = {layer: elsewhere(at.subject.open_sae(layer)) for layer in LAYERS}
    there = object.__new__(BatchMeasurement)
    vars(there).update({name: elsewhere(one) for name, one in vars(at).items() if name != "subject"})
    there.subject = replace(elsewhere(replace(at.subject, stream=at.subject.stream)), open_sae=saes.__getitem__)
    return there


def tally_elsewhere(tally):
    there = Tally(tally.layout, elsewhere(tally.references), torch.device("meta"))
    there.landmarks = elsewhere(tally.landmarks)
    return there


@torch.no_grad()
def test_the_loop_over_arms_waits_for_nothing_and_copies_nothing_to_the_host(module, batch, tally, weights):
    at = BatchMeasurement.captured(module.subject, batch, PAIRS)
    for layer in LAYERS:
        at.add_layer(layer, tally, weights)
    there, sums, weights = measured_elsewhere(at), tally_elsewhere(tally), elsewhere(weights)
    with without_values(), Waits() as waits:
        sums.add_clean(batch.dataset, there.clean_losses(), weights)
        for pair in PAIRS:
            there.add_pair(pair, arms_of(pair, module.subject.arms), sums, weights)
    assert len(there._finite) == 1 + sum(len(arms_of(pair, module.subject.arms)) for pair in PAIRS)
    assert waits.found == {}


@torch.no_grad()
def test_a_batch_waits_as_often_whatever_arms_there_are(module, batch, tally, weights):
    for arms in (["matched"], module.subject.arms):
        with Waits() as waits:
            measure_batch(replace(module.subject, arms=arms), batch, [PAIRS], tally, weights)
        # Scored tokens and predictions of the batch; active features and usual tokens of each layer. What is active in
        # residuals that are mapped, which is looked for on the CPU only.
        mapped = len(PAIRS) * ("linear_map_sae" in arms)
        assert waits.found.pop("aten.nonzero") == 2 + 2 * len(LAYERS) + mapped
        # Whether losses are numbers, of all arms together; the rest is the model's own, on the way to its masks.
        assert waits.found == {}, arms


@torch.no_grad()
def test_a_batch_of_the_survey_waits_for_its_tokens_and_for_what_is_active(module, batch):
    contexts, survey = Contexts(2, 3), Survey(module.tally.layout)
    contexts.start(module.tally.layout.features, module.tally.layout.datasets)
    with Waits() as waits:
        survey.add(module.subject, batch, [PAIRS], [contexts])
    # Of each layer once for the survey and once for the contexts, which besides look where tokens stand, once. Of each
    # pair the features of both layers that are active on sampled tokens; on the CPU those of mapped residuals, twice.
    assert waits.found == {"aten.nonzero": 2 + 2 * len(LAYERS) + 1 + (2 + 2) * len(PAIRS)}


@torch.no_grad()
def test_a_batch_of_the_fitting_text_waits_for_its_tokens_and_for_what_is_active(module, batch, tmp_path):
    kept = UnfinishedRun(tmp_path / "run")
    cache = MatchingCache(tmp_path / "cache")
    joining = Joining(module.collection, module.open_sae, lambda _: None, MatcherSettings(), None, cache)
    state = State(module.subject, dict(module.matchings), module.tally.layout, [PAIRS], torch.device("cpu"))
    fitting = FittingPass(state, join=joining, kept=lambda _: kept.part("pair"), tell=lambda *_: None)
    with Waits() as waits:
        fitting.add(0, batch, 1)
    # Whether there is a token at all; least squares, means and records wait for nothing more.
    assert waits.found == {"aten.nonzero": 2 + len(LAYERS), "aten._local_scalar_dense": 1}


@torch.no_grad()
def test_what_would_wait_is_seen():
    values = torch.arange(3.0)
    with Waits() as waits:
        assert len(values[values > 1]) == 1
        values[values > 1] = 0
        assert float(values.sum()) == 1
    assert waits.found == {"aten.index by a mask": 1, "aten.index_put_ by a mask": 1, "aten._local_scalar_dense": 1}
    there = elsewhere({"some": [values]})["some"][0]
    with without_values(), Waits() as waits:
        there.cpu()
        assert waits.found == {"to the CPU": 1}
        with pytest.raises(Exception, match="tolist"):
            there.tolist()
        with pytest.raises(Exception, match="nonzero"):
            there.nonzero()
        with pytest.raises(Exception, match="device"):
            there + values.new_zeros(3)
