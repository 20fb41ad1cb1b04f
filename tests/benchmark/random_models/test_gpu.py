import math
from itertools import pairwise

import pytest
import torch

from sae_match.benchmark.measuring import chosen
from sae_match.benchmark.random_models import gpu
from sae_match.benchmark.random_models.gpu import GROUP, exactness, gemma, parts
from sae_match.benchmark.random_models.made_up import MadeSAEs, Scale, random_model, text_of
from sae_match.errors import UserError
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.model.speed.fusing import LARGE, Fused

SMALL = Scale(
    model={
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": 4096,
    },
    layers=range(1, 4),
    d_sae=128,
    l0=8,
    documents=4,
    tokens=64,
    batch=2,
)


def test_a_small_gemma_gives_every_figure():
    figures = {figure.what: figure.value for figure in gemma(SMALL, "cpu", 0, EvaluationSettings())}
    assert {"matching", "fitting text", "matching by co-activation", "surveying", "validating"} <= figures.keys()
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    # 300 documents of 1,024 tokens are so many times those that were measured, with more pairs besides.
    assert figures["the paper's protocol, all layers, extrapolated"] > 1000 * figures["validating"]


def test_a_model_s_parts_are_timed_with_their_products_and_with_steps_fused():
    figures = parts(SMALL, "cpu", 0)
    assert [figure.what for figure in figures] == [
        f"{what}: {how}"
        for what in ("3 layers", "the head and its losses")
        for how in ("products alone", "one step after another", "steps fused")
    ]
    assert all(0 < figure.value < 60_000 for figure in figures)
    assert Fused.large == LARGE


def test_saes_made_for_a_model_are_as_sparse_as_they_should_be_and_related():
    stream = random_model(SMALL, torch.device("cpu"), 0)
    batch = text_of(SMALL, "evaluation").batches[0]
    made = MadeSAEs.on(stream, batch, SMALL, 0)
    clean = stream.capture(batch.input_ids, batch.attention_mask)
    for layer in SMALL.layers:
        f = made.open(layer).encode(clean.residuals[layer][batch.scored].float())
        assert SMALL.l0 / 2 < float((f > 0).sum(1).float().mean()) < SMALL.l0 * 2
        assert made.describe_sae(layer).d_sae == SMALL.d_sae
    for before, after in pairwise(SMALL.layers):
        cosines = (made.open(before).W_dec * made.open(after).W_dec).sum(1)
        assert 0.4 < float(cosines.mean()) < 0.9


@pytest.mark.usefixtures("as_a_user")
def test_the_numbers_of_two_devices_are_compared():
    figures = exactness("cpu", documents=2)
    assert [figure.what.removeprefix("largest relative difference of cpu and cpu") for figure in figures] == [
        "",
        ", steps fused",
    ]
    assert all(figure.value == 0 and figure.reached for figure in figures)
    assert Fused.large == LARGE


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_cases_are_left_out_and_refused():
    found = gpu.cases(0, [])
    assert found == {}
    assert chosen({"exact": list}, {GROUP: found}, []) == {"exact": list}
    with pytest.raises(UserError, match="'gpu' need a device that this machine does not have"):
        chosen({"exact": list}, {GROUP: found}, ["gpu"])


def test_with_a_gpu_its_cases_go_by_one_name_or_by_their_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = gpu.cases(0, ["sae-match", "validate"])
    assert list(found)[:2] == ["gpu_parts", "gpu_exact"]
    assert list(found)[-1] == "gpu_processes"
    assert chosen({"exact": list}, {GROUP: found}, ["gpu"]) == found
    assert list(chosen({"exact": list}, {GROUP: found}, ["exact", "gpu_65k"])) == ["exact", "gpu_65k"]
