"""Runtime shape checks for the whole package, one thread a process, and the small things that many tests need.

Nothing here imports torch before a test does: with several workers, pytest's first process only hands tests out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import jaxtyping
import pytest

from tests import programs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase
    from xdist.remote import Producer

    from sae_match import SAE
    from sae_match.model.residual_stream import ResidualStream
    from tests.scheduling import BySharedFixtures

ROOT = programs.ROOT
# numba compiles these, and cannot compile what the checks make of them. A name stands for all below it.
COMPILED = (
    *("sae_match.matching.solver.kernels", "sae_match.matching.solver.flow_kernels"),
    "sae_match.matching.vector_kernels",
)
# What a program does without until its settings are checked.
HEAVY = (
    *("accelerate", "datasets", "huggingface_hub", "lightning", "matplotlib", "numba", "numpy", "openai", "pandas"),
    *("pyarrow", "safetensors", "scipy", "tokenizers", "torch", "transformers", "wandb", "wandb_workspaces"),
)


def checked_modules() -> list[str]:
    """Every module of the package but the compiled ones and the packages that hold them."""
    files = (ROOT / "src" / "sae_match").rglob("*.py")
    names = {".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for file in files}
    return sorted(name for name in names if not any(f"{compiled}.".startswith(f"{name}.") for compiled in COMPILED))


programs.one_thread()
jaxtyping.install_import_hook(checked_modules(), "beartype.beartype")

_SERVING = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How hard readers of files are tried."""
    parser.addoption("--damages", type=int, default=400, help="times that each kind of file is damaged (tests/faults)")


def pytest_configure(config: pytest.Config) -> None:
    """Start the server of programs, once for all workers: they inherit its address."""
    if not hasattr(config, "workerinput"):
        config.stash[_SERVING] = ExitStack()
        config.stash[_SERVING].enter_context(programs.server())


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    if _SERVING in config.stash:
        config.stash[_SERVING].close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BySharedFixtures:
    """Who shares a fixture goes together."""
    from tests.scheduling import BySharedFixtures

    return BySharedFixtures(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """What is thorough is slow, so that `-m "not slow"`, which replaces `-m "not thorough"`, leaves it out as well."""
    if item.get_closest_marker("thorough"):
        item.add_marker("slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def random_sae(seed: int, d_in: int = 6, d_sae: int = 10, dtype: torch.dtype | None = None) -> SAE:
    """A JumpReLU SAE with random parameters and thresholds between one half and two; float32 if nothing is said."""
    import torch

    from sae_match import SAE

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype or torch.float32)

    threshold = torch.rand(d_sae, generator=generator).mul(1.5).add(0.5).to(dtype or torch.float32)
    return SAE(normal(d_in, d_sae), normal(d_sae), normal(d_sae, d_in), normal(d_in), threshold)


@contextmanager
def unchecked() -> Iterator[None]:
    """Without the runtime shape checks, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Without these, for what our own errors say, and for cases of the benchmark, whose parts are checked elsewhere."""
    with unchecked():
        yield


@pytest.fixture
def damages(pytestconfig: pytest.Config) -> int:
    """Times that each kind of file is damaged."""
    return pytestconfig.getoption("--damages")


@pytest.fixture
def make_sae() -> Callable[..., SAE]:
    return random_sae


@pytest.fixture(scope="session")
def tiny_stream() -> ResidualStream:
    """A random Gemma 2 of three layers whose window is shorter than the texts of the tests."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from sae_match.model.residual_stream import ResidualStream

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        sliding_window=4,
        attn_implementation="eager",
    )
    return ResidualStream(Gemma2ForCausalLM(config))


@pytest.fixture(scope="session")
def bundled_model() -> tuple[ResidualStream, PreTrainedTokenizerBase]:
    """The bundled model and its tokenizer."""
    from sae_match import bundled
    from sae_match.model.loading import load_model
    from sae_match.model.settings import ModelSettings

    return load_model(ModelSettings(bundled.path("model")))
