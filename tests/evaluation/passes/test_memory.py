"""The plan of memory: its parts against what tensors take, and against what torch allocates."""

from dataclasses import replace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.arm_names import ARMS
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.passes.measurement import measure_batch
from sae_match.evaluation.passes.memory import MemoryPlan, survey_bytes
from sae_match.evaluation.statistics.forms import forms_of
from sae_match.evaluation.statistics.tally import Layout, Tally
from sae_match.evaluation.survey import Survey
from sae_match.saes.shelf import size_of as bytes_of
from tests.evaluation.validating import collection_of, fitting_text, text_of, validated

PAIRS, LAYERS = [(2, 3), (2, 4), (3, 4)], (2, 3, 4)


class Allocated(TorchDispatchMode):
    """The most that new tensors take at one time, while it is entered; what an operation needs inside is not seen."""

    def __init__(self):
        super().__init__()
        self.most, self._alive = 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = function(*args, **(kwargs or {}))
        old = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        # Of what is not there any more nothing else tells.
        self._alive = {data: one for data, one in self._alive.items() if not one[0].expired()}
        for one in tree_leaves(given):
            if isinstance(one, torch.Tensor) and (data := one.untyped_storage()._cdata) not in old:
                self._alive[data] = (StorageWeakRef(one.untyped_storage()), one.untyped_storage().nbytes())
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return given


@pytest.fixture(scope="module")
def data(bundled_model):
    return text_of(bundled_model[1])


@pytest.fixture(scope="module", params=[["matched", "layer_drop"], [*ARMS, "quantile_0.5"]], ids=["few", "every"])
def module(request, bundled_model, data, tmp_path_factory):
    fitting, folder = fitting_text(bundled_model[1], data), tmp_path_factory.mktemp("run")
    collection = collection_of(*LAYERS)
    return validated(bundled_model, folder, collection, data, None, fitting, arms=request.param, spans=[1, 2])


@torch.no_grad()
def test_what_a_batch_takes_is_what_torch_allocates_for_it(module, data):
    batch = max(data.batches, key=lambda one: one.input_ids.numel())
    tally = Tally(module.tally.layout, module.tally.references)
    tally.landmarks = module.tally.landmarks
    for layer in LAYERS:
        module.open_sae(layer)
    weights = bootstrap_weights(batch.dataset, batch.documents, 0)
    with Allocated() as allocated:
        measure_batch(module.subject, batch, [PAIRS], tally, weights)
    assert module.memory.batch == pytest.approx(allocated.most, rel=0.15)


@torch.no_grad()
def test_smaller_blocks_take_less_and_give_the_same_numbers(module, data):
    found = []
    for blocks in (Blocks(4096, 256), Blocks(1, 8)):
        tally = Tally(module.tally.layout, module.tally.references)
        tally.landmarks = module.tally.landmarks
        for batch in data.batches:
            weights = bootstrap_weights(batch.dataset, batch.documents, 0)
            measure_batch(replace(module.subject, blocks=blocks), batch, [PAIRS], tally, weights)
        found.append(tally.flat())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-4)


def test_model_saes_and_sums_take_what_their_tensors_take(module):
    memory, layout = module.memory, module.tally.layout
    assert memory.model == sum(one.nbytes for one in module.stream.parameters())
    assert memory.saes == sum(bytes_of(module.open_sae(layer)) for layer in LAYERS)
    assert survey_bytes(layout) == Survey(layout).nbytes
    about = sum(one.nbytes for one in module.tally.references.values())
    sums = module.tally.nbytes + Survey(layout).nbytes
    assert sums < memory.sums <= sums + 1.3 * about


@pytest.mark.parametrize("forms", [(), forms_of(False), forms_of(True)])
@pytest.mark.parametrize("twins", [{}, {"matched_unfolded": "matched"}])
def test_a_survey_of_any_layout_takes_what_is_planned(forms, twins):
    arms = ["matched", "matched_unfolded", "linear_map_sae", "composed"]
    layout = Layout([(0, 1), (0, 2), (1, 2)], arms, ["prose", "code"], 12, {0: 5, 1: 7, 2: 9}, twins, forms)
    assert survey_bytes(layout) == Survey(layout).nbytes


def test_blocks_follow_from_what_is_free():
    usual = Blocks.of(torch.device("cpu"))
    assert usual.within(tokens=100, arm=10**6, logits=10**6, free=1e12) == usual
    assert usual.within(tokens=100, arm=10**9, logits=10**6, free=20e9) == Blocks(together=300, logits=256)
    assert usual.within(tokens=100, arm=10**6, logits=10**7, free=10e9) == Blocks(together=4096, logits=100)
    # One arm, and a few logits, whatever there is.
    least = usual.within(tokens=100, arm=10**9, logits=10**9, free=1.0)
    assert least == Blocks(together=100, logits=8)
    assert least.arms_of(100) == least.arms_of(300) == 1
    assert usual.arms_of(1000) == 4


def test_logits_of_a_large_vocabulary_on_a_gpu_are_no_more_than_their_share():
    gpu = Blocks.of(torch.device("cuda"))
    assert gpu.logits * 256_000 * 10 == pytest.approx(5.2e9, rel=0.01)
    assert gpu.within(4096, 10**8, 256_000 * 10, free=8e9).logits * 256_000 * 10 <= 0.1 * 8e9


@pytest.mark.parametrize("attention", ["eager", "capped", "sdpa"])
def test_a_few_long_documents_are_planned_beside_many_short_ones(module, attention):
    cpu, blocks = torch.device("cpu"), Blocks(4096, 256)
    load = module.scope.load(module.stream, module.tally.layout, module.trainer.datamodule.evaluated.batches, 3)
    short, long = (
        replace(load, attention=attention, rows=rows, seq=seq, scored=rows * (seq - 1), shapes=())
        for rows, seq in ((4, 600), (1, 1024))
    )
    both = MemoryPlan.of(replace(short, shapes=[(1, 1024)]), blocks, 1e9, cpu)
    each = [MemoryPlan.of(one, blocks, 1e9, cpu) for one in (short, long)]
    assert both.arms == max(one.arms for one in each)
    assert both.logits == max(one.logits for one in each)
    assert both.clean == max(one.clean for one in each)


def test_memory_for_less_than_one_sae_is_said_and_so_is_text_that_is_too_much(module, caplog):
    batches = module.trainer.datamodule.evaluated.batches
    memory, load = module.memory, module.scope.load(module.stream, module.tally.layout, batches, 3)
    size = bytes_of(module.open_sae(2))
    memory.say_what_does_not_fit(6.0 * size, float(memory.total), load)
    assert caplog.messages == []
    for budget, kept in ((5.9 * size, "2 stay open in 2.97 MB"), (1.0 * size, "none stays open in 0.504 MB")):
        caplog.clear()
        memory.say_what_does_not_fit(budget, float(memory.total), load)
        assert caplog.messages == [
            f"of 3 SAEs of 1.01 MB {kept}, half of evaluation.memory or of what is free; the others are read again for "
            "every pair and batch"
        ]
    caplog.clear()
    memory.say_what_does_not_fit(6.0 * size, 1e6, load)
    (needed,) = caplog.messages
    assert needed.startswith("a validation of this text takes about ")
    assert needed.endswith(" 0.954 MB are free: take a smaller text.batch or text.max_tokens")
