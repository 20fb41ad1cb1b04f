"""Small language models as GGUF files, written with the format's own package, as its converters would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

BOS, EOS = "<|im_start|>", "<|im_end|>"
#: Two control tokens, letters and digits, the space as byte-level vocabularies spell it, and two merges.
_LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,", "Ġ"]
_MERGES = ["t h", "th e"]
_SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GEMMA = _SIZES | {"head_dim": 256, "sliding_window": 4}
#: Small models by what GGUF files call their architecture; what is read from no file is as in nearly all models.
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES, head_dim=16)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES, head_dim=128)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_GEMMA, attn_implementation="eager")),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=1024, bos_token_id=1, eos_token_id=0)
    ),
}
_TOKENS = [EOS, BOS, *_LETTERS, *(merge.replace(" ", "") for merge in _MERGES)]


def random_model(architecture: str) -> PreTrainedModel:
    """A model whose parameters are far from their small starting values, so that every part matters."""
    torch.manual_seed(0)
    model = MODELS[architecture]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def write_gguf(
    model: PreTrainedModel,
    file: Path,
    *,
    architecture: str = "",
    tokenizer: bool = True,
    change: Callable[[gguf.GGUFWriter], None] = lambda _: None,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
) -> Path:
    """Write a model, its sizes and a tokenizer of its vocabulary's size.

    Args:
        model: Of an architecture of `architectures`.
        file: Where to.
        architecture: Said in place of its own.
        tokenizer: Whether there is one.
        change: Adds other fields.
        kind: Of its matrices; vectors are float32.
    """
    kind_of_model = model.config.model_type.removesuffix("_text")
    writer = gguf.GGUFWriter(file, architecture or kind_of_model)
    _add_sizes(writer, model.config)
    if tokenizer:
        _add_tokenizer(writer, model.config.vocab_size)
    change(writer)
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == kind_of_model)
    names = gguf.get_tensor_name_map(number, model.config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        weights = _as_converted(name, tensor, model).numpy()
        stored = gguf.quantize(np.ascontiguousarray(weights), kind) if weights.ndim == 2 else weights
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight", ".bias")),
            stored,
            raw_dtype=kind if weights.ndim == 2 else None,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_vocab_size(config.vocab_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters.get("full_attention", config.rope_parameters)["rope_theta"])
    if config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if (head := getattr(config, "head_dim", None)) is not None:
        writer.add_rope_dimension_count(head)
        writer.add_key_length(head)
        writer.add_value_length(head)


def _add_tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    tokens = [*_TOKENS, *(f"q{number}" for number in range(size - len(_TOKENS)))]
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in (BOS, EOS) else normal for token in tokens])
    writer.add_token_merges(_MERGES)
    writer.add_bos_token_id(tokens.index(BOS))
    writer.add_eos_token_id(tokens.index(EOS))


def _as_converted(name: str, tensor: torch.Tensor, model: PreTrainedModel) -> torch.Tensor:
    """What a converter makes of a parameter."""
    config, weights = model.config, tensor.float()
    if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        # The halves of a head that rotary embeddings turn together are put side by side.
        return weights.view(heads, 2, -1, weights.shape[1]).transpose(1, 2).reshape(weights.shape)
    if config.model_type == "gpt2" and weights.ndim == 2 and ".h." in name:
        return weights.T
    if config.model_type.startswith("gemma") and "norm" in name:
        return weights + 1
    return weights
