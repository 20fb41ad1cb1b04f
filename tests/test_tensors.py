import threading
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from sae_match import compose, match
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import ARMS
from sae_match.matching import baselines
from sae_match.tensors import exact_product, plain_torch, quick_product, refuse_coarse_products
from sae_match.training.input_scaling import InputScaling
from tests.evaluation.validating import collection_of, fitting_text, text_of, validated

LEVELS = {
    "everything": torch.backends,
    "cudnn": torch.backends.cudnn,
    "cuda.matmul": torch.backends.cuda.matmul,
    "mkldnn.matmul": torch.backends.mkldnn.matmul,
}


def precisions():
    return {name: level.fp32_precision for name, level in LEVELS.items()}


@pytest.fixture(autouse=True)
def untouched():
    """Every test begins with precisions that nobody has set, and whatever it sets and takes back is gone after it."""
    torch.set_float32_matmul_precision("highest")
    for level in LEVELS.values():
        level.fp32_precision = "none"
    yield
    assert set(precisions().values()) <= {"none", "ieee"}
    assert torch.get_float32_matmul_precision() == "highest"


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def products_as(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def set_to(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
        assert getattr(owner, name) == value
    finally:
        setattr(owner, name, before)


MATMUL = torch.backends.mkldnn.matmul
STATES = {
    "float64": partial(default_dtype, torch.float64),
    "float16": partial(default_dtype, torch.float16),
    "bfloat16": partial(default_dtype, torch.bfloat16),
    "meta": partial(default_device, "meta"),
    "inference": torch.inference_mode,
    "grad": torch.enable_grad,
    "deterministic": deterministic,
    "medium": partial(products_as, "medium"),
    "fp32_precision": partial(set_to, MATMUL, "fp32_precision", "bf16"),
    "cuda.matmul": partial(set_to, torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "backends": partial(set_to, torch.backends, "fp32_precision", "tf32"),
}


def everything(source, target, folder):
    """Numbers of all that can be done without text."""
    found = [
        match(source, target, solver="dense"),
        match(source, target, solver="sparse", precision="bfloat16"),
        match(source, target, solver="sparse", precision="float32"),
        match(source, target, metric="cosine", rejection_cost=0.5),
        baselines.nearest(source, target),
        baselines.random(source, seed=3),
        baselines.identity(source),
    ]
    back = match(target, source)
    found += [back, compose(found[0], back), compose(found[4], back)]
    for number, matching in enumerate(found):
        matching.save(folder / f"{number}.safetensors")
    return [(one.permutation.tolist(), one.pair_cost.nan_to_num(-1).tolist(), one.lower_bound) for one in found]


@pytest.mark.parametrize("state", STATES)
def test_matchings_are_the_same_whatever_the_program_has_set(make_sae, tmp_path, state):
    source, target = make_sae(0, d_in=40, d_sae=300), make_sae(1, d_in=40, d_sae=300)
    expected = everything(source, target, tmp_path)
    with STATES[state]():
        assert everything(source, target, tmp_path) == expected


@pytest.mark.parametrize("state", ["float64", "bfloat16", "deterministic"])
def test_validations_are_the_same_whatever_the_program_has_set(bundled_model, tmp_path, state):
    data = text_of(bundled_model[1])
    fitting = fitting_text(bundled_model[1], data)
    arms = [arm for arm in ARMS if arm != "composed"]

    def rows(folder):
        return validated(bundled_model, folder, collection_of(3, 4), data, fitting=fitting, arms=arms).results.rows

    expected = rows(tmp_path / "plain")
    with STATES[state]():
        assert rows(tmp_path / state) == expected


def test_loaded_saes_are_the_same_whatever_the_program_has_set():
    collection = collection_of(3)
    expected = collection.open(3).content_hash()
    for state in ("float64", "meta", "inference"):
        with STATES[state]():
            assert collection.open(3).content_hash() == expected


@pytest.mark.parametrize("state", ["float64", "bfloat16"])
def test_scalings_begin_as_float32(state):
    with STATES[state]():
        assert InputScaling.blank(4).mean.dtype == torch.float32


def test_what_is_found_can_be_used_where_gradients_are_wanted(make_sae):
    with torch.inference_mode():
        found = match(make_sae(0), make_sae(1))
    weight = torch.ones(len(found.pair_cost), requires_grad=True)
    (weight.double() * found.pair_cost).sum().backward()
    assert torch.equal(weight.grad.double(), found.pair_cost.float().double())


def test_two_threads_that_match_at_once_leave_the_setting_as_it_was(make_sae):
    source, target = make_sae(0, d_in=40, d_sae=300), make_sae(1, d_in=40, d_sae=300)
    found = []
    work = partial(match, source, target, solver="sparse", precision="float32")
    with products_as("medium"):
        threads = [threading.Thread(target=lambda: found.append(work().permutation.tolist())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [work().permutation.tolist()] * 4


@pytest.mark.parametrize("level", LEVELS)
def test_what_a_product_leaves_is_what_its_caller_said_and_no_more(level):
    x = torch.ones(4, 4)
    LEVELS[level].fp32_precision = "tf32"
    before = precisions()
    exact_product(x, x)
    assert precisions() == before
    LEVELS[level].fp32_precision = "none"
    assert set(precisions().values()) == {"none"}


@pytest.mark.parametrize("below", ["cudnn", "cuda.matmul", "mkldnn.matmul"])
def test_levels_between_say_nothing_that_nobody_has_said(below):
    x = torch.ones(4, 4)
    torch.backends.fp32_precision = LEVELS[below].fp32_precision = "tf32"
    exact_product(x, x)
    torch.backends.fp32_precision = "none"
    assert {name for name, found in precisions().items() if found != "none"} <= {below, "cuda.matmul"}
    LEVELS[below].fp32_precision = "none"
    assert set(precisions().values()) == {"none"}


def test_a_precision_of_its_own_outlives_the_one_above_it():
    x = torch.ones(4, 4)
    for level in LEVELS.values():
        level.fp32_precision = "tf32"
    exact_product(x, x)
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    assert precisions() == {"everything": "none", "cudnn": "none", "cuda.matmul": "tf32", "mkldnn.matmul": "tf32"}
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


def test_a_product_during_which_another_thread_changed_the_setting_is_made_anew(monkeypatch):
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    products, whole = [], torch.mm

    def disturbed(*args, **named):
        products.append(whole(*args, **named))
        if len(products) < 3:
            torch.set_float32_matmul_precision("medium")
        return products[-1]

    monkeypatch.setattr(torch, "mm", disturbed)
    try:
        assert torch.equal(exact_product(x, x), whole(x, x.T))
        assert len(products) == 3
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_thread_that_never_stops_changing_the_setting_is_named(monkeypatch):
    whole = torch.mm

    def disturbed(*args, **named):
        torch.set_float32_matmul_precision("medium")
        return whole(*args, **named)

    monkeypatch.setattr(torch, "mm", disturbed)
    try:
        with pytest.raises(UserError, match="another thread of this program keeps changing the precision"):
            exact_product(torch.ones(2, 2), torch.ones(2, 2))
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_quick_product_is_as_exact_as_its_dtype_whatever_the_program_has_set(dtype):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 400, generator=generator, dtype=dtype) for n in (30, 50))
    bound = 400 * torch.finfo(dtype).eps * x.double().norm(dim=1)[:, None] * y.double().norm(dim=1)
    with products_as("medium"):
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        found = quick_product(x, y)
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    assert found.dtype == dtype
    assert ((found.double() - x.double() @ y.double().T).abs() <= bound).all()
    assert quick_product(x[:0], y).shape == (0, 50)


def test_products_that_are_coarser_than_float32_are_refused(monkeypatch):
    refuse_coarse_products(torch.device("cpu"))
    whole = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, y: whole(x.bfloat16(), y.bfloat16()).float())
    with pytest.raises(UserError, match="products of float32 on cpu are coarser than float32"):
        refuse_coarse_products(torch.device("cpu"))


def test_a_plain_state_ends_with_the_block():
    with default_device("meta"):
        with plain_torch():
            assert torch.ones(1).device.type == "cpu"
            assert not torch.is_grad_enabled()
        assert torch.ones(1).device.type == "meta"
    assert torch.is_grad_enabled()
