import threading
from dataclasses import replace

import pytest
import torch

from sae_match import SAE
from sae_match.errors import UserError

W_ENC = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
W_DEC = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
ZEROS_3, ZEROS_2 = torch.zeros(3), torch.zeros(2)


def test_jumprelu_passes_only_what_is_strictly_above_its_threshold():
    sae = SAE(W_ENC, ZEROS_3, W_DEC, ZEROS_2, threshold=torch.tensor([0.5, 0.6, 0.5]))
    x = torch.tensor([[0.0, 0.6]])
    assert sae.encode(x).tolist() == [[0.0, 0.0, pytest.approx(0.6)]]
    assert sae.decode(sae.encode(x)).flatten().tolist() == pytest.approx([0.3, 0.3])


def test_a_negative_value_never_passes_even_under_a_negative_threshold():
    sae = SAE(W_ENC, ZEROS_3, W_DEC, ZEROS_2, threshold=torch.full((3,), -1.0))
    assert sae.encode(torch.tensor([-0.5, 0.2])).tolist() == pytest.approx([0.0, 0.2, 0.0])


def test_relu_and_top_k():
    x = torch.tensor([0.3, 0.4])
    relu = SAE(W_ENC, ZEROS_3, W_DEC, ZEROS_2, activation="relu")
    assert relu.encode(x).tolist() == pytest.approx([0.3, 0.4, 0.7])
    top = SAE(W_ENC, ZEROS_3, W_DEC, ZEROS_2, activation="topk", k=2)
    assert top.encode(x).tolist() == pytest.approx([0.0, 0.4, 0.7])


def test_top_k_ranks_by_scaled_values_but_returns_them_unscaled():
    scale = torch.tensor([10.0, 1.0, 1.0])
    sae = SAE(W_ENC, ZEROS_3, W_DEC, ZEROS_2, activation="topk", k=1, rank_scale=scale)
    assert sae.encode(torch.tensor([0.3, 0.4])).tolist() == pytest.approx([0.3, 0.0, 0.0])


def test_biases_act_in_their_own_spaces(make_sae):
    sae = make_sae(0)
    x = torch.randn(4, 5, sae.d_in)
    z = torch.einsum("bti,is->bts", x, sae.W_enc) + sae.b_enc
    f = torch.where(z > sae.threshold, z.clamp_min(0), 0)
    assert torch.allclose(sae(x), torch.einsum("bts,si->bti", f, sae.W_dec) + sae.b_dec, atol=1e-5)


def test_its_print_is_one_line(make_sae):
    assert repr(make_sae(0)) == "SAE(d_in=6, d_sae=10, activation='jumprelu', dtype=torch.float32)"


def test_content_hash_sees_every_tensor_and_nothing_else(make_sae):
    sae = make_sae(0)
    assert sae.content_hash() == make_sae(0).content_hash()
    for name in sae.tensors():
        changed = {**sae.tensors(), name: sae.tensors()[name] + 1e-3}
        assert SAE(**changed).content_hash() != sae.content_hash()


def test_content_hash_does_not_depend_on_how_numbers_lie_in_memory(make_sae):
    sae = make_sae(0, d_in=40, d_sae=50)
    turned = replace(sae, W_enc=sae.W_enc.T.contiguous().T)
    assert not turned.W_enc.is_contiguous()
    assert turned.content_hash() == sae.content_hash()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W_dec": torch.zeros(2, 3)}, r"W_dec must be \[3, 2\].*got \[2, 3\]"),
        ({"b_enc": torch.zeros(2)}, r"b_enc must be \[3\]"),
        ({"threshold": torch.zeros(2)}, r"threshold must be \[3\]"),
        ({"W_enc": torch.zeros(0, 3)}, "not empty"),
        ({"b_dec": torch.zeros(2, dtype=torch.float64)}, "b_dec must be of W_enc's floating dtype"),
        ({"threshold": None}, "a threshold goes with activation 'jumprelu'"),
        ({"activation": "relu"}, "a threshold goes with activation 'jumprelu'"),
        ({"k": 3}, "k goes with activation 'topk'"),
        ({"threshold": None, "activation": "topk", "k": 0}, "k must be at least 1"),
        ({"rank_scale": torch.ones(3)}, "rank_scale goes with activation 'topk'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_parameters_that_do_not_agree_are_refused(change, message):
    parameters = {"W_enc": W_ENC, "b_enc": ZEROS_3, "W_dec": W_DEC, "b_dec": ZEROS_2, "threshold": torch.ones(3)}
    with pytest.raises(UserError, match=message):
        SAE(**{**parameters, **change})


def test_many_threads_may_ask_for_a_hash_at_once_while_tensors_change(make_sae):
    sae, expected, failed = make_sae(0), make_sae(0).content_hash(), []

    def ask():
        try:
            for _ in range(300):
                sae.content_hash()
        except KeyError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        sae.b_dec[0] += 1 if number % 2 == 0 else -1
    for thread in threads:
        thread.join()
    assert failed == []
    sae.b_dec.copy_(make_sae(0).b_dec)
    assert sae.content_hash() == expected
