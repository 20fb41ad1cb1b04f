import logging

import pytest
import torch

from sae_match.model.speed import half
from sae_match.model.speed.half import half_over_single, warn_where_half_is_slow

CPU = torch.device("cpu")


def test_half_precision_is_timed_beside_single():
    ratio = half_over_single()
    assert 0 < ratio < 1e4


@pytest.mark.parametrize(("ratio", "device", "said"), [(30.2, CPU, True), (1.2, CPU, False), (30.2, "meta", False)])
def test_only_where_half_precision_costs_time_it_is_said(monkeypatch, caplog, ratio, device, said):
    monkeypatch.setattr(half, "half_over_single", lambda: ratio)
    with caplog.at_level(logging.WARNING):
        warn_where_half_is_slow(torch.device(device), "model.dtype=bfloat16", "model.dtype=float32")
    told = "model.dtype=bfloat16: this processor multiplies in bfloat16 30 times as slowly as in float32; say "
    assert caplog.messages == ([f"{told}model.dtype=float32"] if said else [])
