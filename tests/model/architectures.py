"""Small random models of every architecture that is supported."""

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.gemma3 import Gemma3Config

VOCABULARY, HIDDEN, LAYERS, HEADS, HEAD_DIM = 64, 16, 3, 2, 12
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
}
_GROUPED = _SIZES | {"num_key_value_heads": 1, "head_dim": HEAD_DIM}
_TEXT = _GROUPED | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}


def gemma() -> PreTrainedModel:
    return GemmaForCausalLM(GemmaConfig(**_GROUPED))


def gemma_2() -> PreTrainedModel:
    return Gemma2ForCausalLM(Gemma2Config(**_TEXT, attn_implementation="eager"))


def gemma_3() -> PreTrainedModel:
    return Gemma3ForCausalLM(Gemma3TextConfig(**_TEXT))


def gemma_3_multimodal() -> PreTrainedModel:
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 16,
        "patch_size": 8,
    }
    config = Gemma3Config(
        text_config=_TEXT, vision_config=vision, mm_tokens_per_image=4, image_token_index=60, boi_token_index=61
    )
    return Gemma3ForConditionalGeneration(config)


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_GROUPED))


def mistral() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**_GROUPED, sliding_window=4))


def qwen_2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**_SIZES, num_key_value_heads=1))


def qwen_3() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**_GROUPED))


def gpt_2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=64)
    )


def gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_SIZES))


ARCHITECTURES = {
    build.__name__: build
    for build in (gemma, gemma_2, gemma_3, gemma_3_multimodal, llama, mistral, qwen_2, qwen_3, gpt_2, gpt_neox)
}
_SQUARE = ("qwen_2", "gpt_2", "gpt_neox")
ATTENTION_WIDTH = dict.fromkeys(ARCHITECTURES, HEADS * HEAD_DIM) | dict.fromkeys(_SQUARE, HIDDEN)


def random_model(name: str) -> PreTrainedModel:
    """A model whose parameters are far from their small starting values, so that every part matters."""
    torch.manual_seed(0)
    model = ARCHITECTURES[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model
