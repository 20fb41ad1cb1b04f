"""Language models in GGUF files, llama.cpp's format: config, tokenizer and weights, often of few bits, in one file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import quote

from huggingface_hub import (
    HfFileSystem,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.model.gguf.header import DamagedError, GGUFHeader, Readable, read_header
from sae_match.model.settings import ModelSettings

#: What the file of such a model is called.
ENDING = ".gguf"
#: Architectures, as such files call them, that are loaded, with the class of `transformers` that each becomes.
ARCHITECTURES = {
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
# Of some architectures `transformers` reads neither these nor what goes with them (Gemma's scale of attention), and
# takes those that nearly all their models have.
_TAKEN_FOR_GRANTED = {
    ("gemma2", "attention.key_length"): 256,
    ("gemma3", "attention.key_length"): 256,
    ("gpt2", "context_length"): 1024,
    ("qwen3", "attention.key_length"): 128,
}
#: Matrices of every one of these: the embedding, and what a layer's attention heads go through.
EMBEDDING, HEADS_OUT = "token_embd.weight", "blk.0.attn_output.weight"
# Bytes of a file on the hub that are asked for at a time: most headers are of a few megabytes.
_AT_A_TIME = 1 << 21
# `owner/name/FILE.gguf`.
_PARTS_ON_HUB = 3


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file on this machine or on the hub.

    Attributes:
        source: As the user has named it.
        path: The file, or its path in the repository.
        repository: `owner/name` on the hub; none for a file on this machine.
        revision: Commit, tag or branch of it.
    """

    source: str
    path: str
    repository: str | None = None
    revision: str | None = None

    @classmethod
    def of(cls, settings: ModelSettings) -> "GGUFFile | None":
        """The file that a model is; none if it is no GGUF file.

        Raises:
            UserError: If there is no such file.
        """
        if not is_gguf(settings):
            return None
        location = settings.location
        if Path(location).is_file():
            return cls(settings.source, location)
        owner, *names = location.split("/")
        if len(names) < _PARTS_ON_HUB - 1 or not owner.strip(".") or Path(location).is_absolute():
            raise UserError(f"there is no file {settings.source} (model.source)")
        return cls(settings.source, "/".join(names[1:]), f"{owner}/{names[0]}", settings.revision)

    def fetched(self) -> Path:
        """The file on this machine, downloaded into the hub's cache if need be.

        Raises:
            UserError: If it cannot be fetched.
        """
        if self.repository is None:
            return Path(self.path)
        with hub_errors(self.source):
            return Path(hf_hub_download(self.repository, self.path, revision=self.revision))

    def header(self) -> GGUFHeader:
        """What it says of itself; of a file on the hub, no more than that is fetched.

        Raises:
            UserError: If it is damaged, cannot be fetched, or is no language model that can be loaded.
        """
        kinds = _package().GGML_QUANT_SIZES
        with self._opened() as (file, size):
            try:
                header = read_header(file, size)
                _refuse_cut_off(header, kinds)
            except DamagedError as error:
                raise UserError(
                    f"{self.source} is damaged or no GGUF file: {error} (an unfetched large-file pointer?); "
                    "fetch it again"
                ) from error
        _refuse_unfit(header, self.source)
        return header

    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self._here() is not None

    def _here(self) -> Path | None:
        if self.repository is None:
            return Path(self.path)
        cached = try_to_load_from_cache(self.repository, self.path, revision=self.revision)
        return Path(cached) if isinstance(cached, str) else None

    @contextmanager
    def _opened(self) -> Iterator[tuple[Readable, int]]:
        here = self._here()
        if here is not None:
            try:
                with here.open("rb") as file:
                    yield file, here.stat().st_size
            except OSError as error:
                raise UserError(f"cannot read {self.source}: {error.strerror or error}") from error
            return
        with hub_errors(self.source):
            url = hf_hub_url(self.repository or "", self.path, revision=self.revision)
            size = get_hf_file_metadata(url).size or 0
            where = f"{self.repository}@{quote(self.revision or 'main', safe='')}/{self.path}"
            with HfFileSystem().open(where, "rb", block_size=_AT_A_TIME, size=size) as found:
                yield cast(Readable, found), size


def is_gguf(settings: ModelSettings) -> bool:
    """Whether a model is named as a GGUF file."""
    return settings.source.lower().endswith(ENDING)


@contextmanager
def reading_once() -> Iterator[None]:
    """Have `transformers` read a GGUF file quietly, and once.

    By itself it goes through all words of the vocabulary for the config, the tokenizer and the weights, makes
    the table of tensors' names for each module, and shows a bar that does not heed that bars are switched off.
    """
    reader: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    package: Any = _package()
    before = reader.tqdm, package.GGUFReader, package.get_tensor_name_map
    reader.tqdm = lambda tensors, **_: tensors
    package.GGUFReader, package.get_tensor_name_map = map(cache, before[1:])
    try:
        yield
    finally:
        reader.tqdm, package.GGUFReader, package.get_tensor_name_map = before


def _package() -> ModuleType:
    try:
        return import_module("gguf")
    except ImportError as error:
        raise UserError("a GGUF file needs the extra: pip install 'sae-match[gguf]'") from error


def _refuse_cut_off(header: GGUFHeader, kinds: Mapping[int, tuple[int, int]]) -> None:
    """Check that all tensors are inside the file; `kinds` has entries and bytes of a block of each type."""
    for name, tensor in header.tensors.items():
        if tensor.kind not in kinds:
            raise DamagedError(f"tensor {name!r} is of type {tensor.kind}, which the package gguf does not know")
        entries, size = kinds[tensor.kind]
        end = header.start + tensor.offset + tensor.entries // entries * size
        if tensor.shape and tensor.shape[-1] % entries:
            raise DamagedError(f"tensor {name!r} of shape {list(tensor.shape)} is not made of blocks of {entries}")
        if end > header.size:
            raise DamagedError(f"tensor {name!r} ends at byte {end:,}, the file at {header.size:,}")


def _refuse_unfit(header: GGUFHeader, source: str) -> None:
    """Check that a sound file is a language model that can be loaded, with its tokenizer."""
    architecture = header.fields.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{source} is of architecture {architecture!r}; GGUF files of {', '.join(ARCHITECTURES)} are loaded"
        )
    parts = header.fields.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise UserError(f"{source} is one of {parts} parts of a model; join them (llama-gguf-split --merge)")
    for name in ("block_count", "embedding_length"):
        if type(header.fields.get(f"{architecture}.{name}")) is not int:
            raise UserError(f"{source} is no language model: it does not say its {architecture}.{name}")
    for name in (EMBEDDING, HEADS_OUT):
        if name not in header.tensors or len(header.tensors[name].shape) != 2:
            raise UserError(f"{source} is no language model: it has no matrix {name}")
    _refuse_unread(header, str(architecture), source)
    if not header.fields.get("tokenizer.ggml.tokens"):
        raise UserError(f"{source} holds no tokenizer; take a file that does, as those for llama.cpp do")


def _refuse_unread(header: GGUFHeader, architecture: str, source: str) -> None:
    """Check that a file says nothing that `transformers` would pass over, and so load another model than it is."""
    scaled = str(header.fields.get(f"{architecture}.rope.scaling.type", "none")) != "none"
    if scaled or any(name.startswith("rope_f") for name in header.tensors):
        raise UserError(
            f"{source} scales its rotary positions, which is not read from GGUF files; take the model's original files"
        )
    for (kind, name), usual in _TAKEN_FOR_GRANTED.items():
        said = header.fields.get(f"{kind}.{name}", usual)
        if kind == architecture and said != usual:
            raise UserError(
                f"{source} has {kind}.{name} = {said}, and {usual} is what GGUF files of this architecture are read "
                "with; take the model's original files"
            )
