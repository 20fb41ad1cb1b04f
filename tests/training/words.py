"""A tokenizer of words, and text whose tokens can be counted in one's head."""

import json

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sae_match.model.residual_stream import ResidualStream
from sae_match.text.settings import SourceSettings, TextSettings

WORDS = ("<bos>", "<pad>", *(f"w{number}" for number in range(48)))


def word_tokenizer(**special):
    """Every word is a token; `w0` has id 2."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **(special or {"bos_token": "<bos>", "pad_token": "<pad>"})
    )


def random_documents(number, words, seed=0):
    """Documents of so many random words, all different."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(48, (number, words), generator=generator).tolist()
    return [" ".join(f"w{word}" for word in row) for row in drawn]


def as_text(folder, **datasets):
    """Datasets of JSON lines in a folder, by name."""
    sources = {}
    for name, documents in datasets.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
        sources[name] = SourceSettings("jsonl", path=str(file))
    return TextSettings(datasets=sources)


def small_stream(layers=2, width=12, seed=0):
    """A random GPT-2 that knows these words."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=len(WORDS), n_positions=64, n_embd=width, n_layer=layers, n_head=2)
    return ResidualStream(GPT2LMHeadModel(config))
