"""Configs of the language models that public dictionaries are of, as far as sizes follow from them."""

from typing import Any


def _gemma_3(d: int, layers: int, heads: int, kv: int, inner: int, head: int = 256) -> dict[str, Any]:
    sizes = {"hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv}
    return {"model_type": "gemma3_text", "head_dim": head, "intermediate_size": inner, "vocab_size": 262_144, **sizes}


def _seeing(text: dict[str, Any]) -> dict[str, Any]:
    """Of a model that is shown pictures too."""
    return {"model_type": "gemma3", "text_config": text}


def _qwen(kind: str, d: int, layers: int, heads: int, kv: int, inner: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv}
    return {"model_type": kind, "intermediate_size": inner, "vocab_size": 151_936, **sizes, **more}


def _qwen_3(*sizes: int, tied: bool) -> dict[str, Any]:
    return _qwen("qwen3", *sizes, head_dim=128, tie_word_embeddings=tied, max_position_embeddings=32_768)


def _qwen_3_5(*sizes: int, **more: Any) -> dict[str, Any]:
    return _qwen("qwen3_5_moe_text" if more else "qwen3_5_text", *sizes, head_dim=256, **more)


_GEMMA_3 = {
    "270m": _gemma_3(640, 18, 4, 1, 2048),
    "1b": _gemma_3(1152, 26, 4, 1, 6912),
    "4b": _seeing(_gemma_3(2560, 34, 8, 4, 10_240)),
    "12b": _seeing(_gemma_3(3840, 48, 16, 8, 15_360)),
    "27b": _seeing(_gemma_3(5376, 62, 32, 16, 21_504, head=128)),
}
_LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
}
_GPT_2 = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50_257}


def _gemma_2(d: int, layers: int, heads: int, kv: int, inner: int) -> dict[str, Any]:
    return {**_gemma_3(d, layers, heads, kv, inner), "model_type": "gemma2", "vocab_size": 256_000}


CONFIGS: dict[str, dict[str, Any]] = {
    **{f"google/gemma-3-{size}-{kind}": config for size, config in _GEMMA_3.items() for kind in ("pt", "it")},
    "google/gemma-3-270m": _GEMMA_3["270m"],
    "google/gemma-2-2b": _gemma_2(2304, 26, 8, 4, 9216),
    "google/gemma-2-9b": _gemma_2(3584, 42, 16, 8, 14_336),
    "openai-community/gpt2": {"model_type": "gpt2", **_GPT_2},
    "meta-llama/Llama-3.1-8B": _LLAMA,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": _LLAMA,
    "Qwen/Qwen3-0.6B": _qwen_3(1024, 28, 16, 8, 3072, tied=True),
    **{f"Qwen/Qwen3-1.7B{end}": _qwen_3(2048, 28, 16, 8, 6144, tied=True) for end in ("", "-Base")},
    "Qwen/Qwen3-4B": _qwen_3(2560, 36, 32, 8, 9728, tied=True),
    **{f"Qwen/Qwen3-8B{end}": _qwen_3(4096, 36, 32, 8, 12_288, tied=False) for end in ("", "-Base")},
    "Qwen/Qwen3-14B": _qwen_3(5120, 40, 40, 8, 17_408, tied=False),
    "Qwen/Qwen3-30B-A3B-Base": _qwen(
        *("qwen3_moe", 2048, 48, 32, 4, 6144), head_dim=128, num_experts=128, moe_intermediate_size=768
    ),
    "Qwen/Qwen3.5-2B-Base": _qwen_3_5(2048, 24, 8, 2, 6144),
    "Qwen/Qwen3.5-9B-Base": _qwen_3_5(4096, 32, 16, 4, 12_288),
    "Qwen/Qwen3.5-27B": _qwen_3_5(5120, 64, 24, 4, 17_408),
    "Qwen/Qwen3.5-35B-A3B-Base": _qwen_3_5(2048, 40, 16, 2, 512, num_experts=256, moe_intermediate_size=512),
}
