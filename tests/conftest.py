"""Runtime shape checks for the whole package, and the small things that many tests need."""

from pathlib import Path

import jaxtyping

ROOT = Path(__file__).parents[1]
# numba compiles these, and cannot compile what the checks make of them. A name stands for all below it.
COMPILED = ("sae_match.matching.kernels", "sae_match.matching.vector_kernels")


def checked_modules() -> list[str]:
    """Every module of the package but the compiled ones and the packages that hold them."""
    files = (ROOT / "src" / "sae_match").rglob("*.py")
    names = {".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for file in files}
    return sorted(name for name in names if not any(f"{compiled}.".startswith(f"{name}.") for compiled in COMPILED))


jaxtyping.install_import_hook(checked_modules(), "beartype.beartype")

from collections.abc import Callable

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from sae_match import SAE, bundled
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings


def random_sae(seed: int, d_in: int = 6, d_sae: int = 10, dtype: torch.dtype = torch.float32) -> SAE:
    """A JumpReLU SAE with random parameters and thresholds between one half and two."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    threshold = torch.rand(d_sae, generator=generator).mul(1.5).add(0.5).to(dtype)
    return SAE(normal(d_in, d_sae), normal(d_sae), normal(d_sae, d_in), normal(d_in), threshold)


@pytest.fixture
def as_a_user():
    """Without the runtime shape checks, as outside the tests: for what our own errors say."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def make_sae() -> Callable[..., SAE]:
    return random_sae


@pytest.fixture(scope="session")
def tiny_stream() -> ResidualStream:
    """A random Gemma 2 of three layers whose window is shorter than the texts of the tests."""
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
def bundled_model():
    """The bundled model and its tokenizer."""
    return load_model(ModelSettings(bundled.path("model")))
