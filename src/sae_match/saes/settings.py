"""Which SAEs, as plain settings that Hydra fills and checks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sae_match.errors import UserError
from sae_match.saes.sites import matched_site

#: Every file format, by its module in `sae_match.saes.formats`.
FORMATS = (
    *("gemma_scope", "gemma_scope_2", "gemma_scope_2_crosscoder", "llama_scope", "llamascopium", "qwen_scope"),
    *("circuit_tracer", "sae_lens", "sparsify", "dictionary_learning", "state_dict"),
)

#: Of them, those whose SAEs lie in folders of any name; of the last two it is a usual one.
PATH_FORMATS = ("sae_lens", "dictionary_learning", "state_dict", "sparsify", "llamascopium")
_WITHOUT_USUAL = PATH_FORMATS[:3]
_PRESETS = ", ".join(f"sae={name}" for name in FORMATS)

Fold = Literal["threshold", "decoder_norm", "none"]
FOLDS: tuple[Fold, ...] = ("threshold", "decoder_norm", "none")

#: In place of a format: the folder says what it holds.
FOLDER = "folder"

# A part of names of files, in which `@` stands before it.
_COLLECTION = re.compile(r"[^\W_][\w.=+-]{0,39}")
# Stands for a value that must be given.
_MISSING = "???"


@dataclass
class NeuronpediaSettings:
    """Where the features of a collection have their pages on Neuronpedia.

    Attributes:
        model: Name of the language model there; no layer has pages if none is given.
        source: Name of each layer's source there, with `{layer}` and what picks the layer's SAE, such as
            `{width}` and `{l0}`, in braces.
        l0: Where a source stands for an SAE of one L0, that L0 for each layer: of another one, `other` is
            the name.
        other: Name of the source of an SAE of another L0; none of them has pages if none is given.
        layers: Names of single layers' sources, which go before everything else; null for no pages.
    """

    model: str | None = None
    source: str | None = None
    l0: dict[str, Any] = field(default_factory=dict)
    other: str | None = None
    layers: dict[str, str | None] = field(default_factory=dict)

    def names(self, layers: Mapping[int, Mapping[str, Any]]) -> dict[int, tuple[str, str]]:
        """Names of the model and of the source for each layer that has pages.

        Raises:
            UserError: If sources are named and no model, or a name asks for what does not pick the layer's SAE.
        """
        if self.model is None:
            if self.source is not None or self.layers:
                raise UserError("sae.neuronpedia names sources and no model; set sae.neuronpedia.model")
            return {}
        model = self.model
        named = {layer: self._source(layer, which) for layer, which in sorted(layers.items())}
        return {layer: (model, source) for layer, source in named.items() if source is not None}

    def _source(self, layer: int, which: Mapping[str, Any]) -> str | None:
        if str(layer) in self.layers:
            return self.layers[str(layer)]
        usual = not self.l0 or which.get("l0") == self.l0.get(str(layer))
        template = self.source if usual else self.other
        if template is None:
            return None
        fields = {"layer": layer, **which}
        try:
            return template.format_map(fields)
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise UserError(
                f"sae.neuronpedia: {template!r} is no name of a source of layer {layer}; "
                f"{', '.join(f'{{{name}}}' for name in fields)} can stand in it"
            ) from error


@dataclass
class SAESettings:
    """Which SAEs.

    Attributes:
        format: File format; `folder` for a folder that says what it holds.
        source: Folder or hub repository.
        revision: Commit, tag or branch of the repository.
        layers: For each layer (its number as text, for the sake of the command line), what picks its SAE
            within the source; with `source`, within another one.
        site: Where in its decoder layer each SAE reads: `residual`, `residual_before`, `mlp`, `attention` or
            `attention_output`; of those that are matched and not evaluated also `mlp_input` or `residual_middle`.
        neuronpedia: Where their features have pages on Neuronpedia, if anywhere.
        name: What the collection is called beside another one, in files and tables; by default the end of its source.
        layer_numbers: Further layers, picked by `path` and `each` alone.
        path: Folder of each layer's SAE inside the source, with `{layer}` where the layer's number goes; for the
            formats that take one.
        each: What picks the SAE of every layer, where `layers` says nothing else.
    """

    format: str = _MISSING
    source: str = _MISSING
    revision: str | None = None
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    site: str = "residual"
    neuronpedia: NeuronpediaSettings = field(default_factory=NeuronpediaSettings)
    name: str | None = None
    layer_numbers: list[int] = field(default_factory=list)
    path: str | None = None
    each: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name is not None and not _COLLECTION.fullmatch(self.name):
            raise UserError(f"sae.name must be up to 40 letters, digits and _ . = + -, got {self.name!r}")
        if self.format not in (_MISSING, FOLDER):
            refuse_unknown_format(self.format)
        named = self.layers or self.layer_numbers or self.path is not None or self.each
        if self.format == FOLDER and (named or self.revision is not None):
            raise UserError(f"sae=folder takes its layers from the folder; to name them, say {_PRESETS}")
        if self.path is not None and self.format in FORMATS and self.format not in PATH_FORMATS:
            raise UserError(
                f"SAE format {self.format!r} takes no path; those with a path are {', '.join(PATH_FORMATS)}: "
                f"sae={PATH_FORMATS[0]} sae.path=…"
            )
        if self._share_a_folder():
            raise UserError(
                "sae.path must hold {layer} where the layer's number goes, as each layer has a folder of its own: "
                "say it as \"sae.path='layer_{layer}'\""
            )
        if "layer" in self.each:
            raise UserError("sae.each.layer would read every layer from one; say which layers with sae.layer_numbers")
        matched_site(self.site)
        self.neuronpedia.names(self.which())

    def which(self) -> dict[int, dict[str, Any]]:
        """For each layer, what picks its SAE.

        Raises:
            UserError: If a layer is no number.
        """
        for layer in self.layers:
            if not layer.isdecimal():
                raise UserError(f"sae.layers must be named by layer numbers, got {layer!r}")
        if negative := [layer for layer in self.layer_numbers if layer < 0]:
            raise UserError(f"sae.layer_numbers must be layer numbers, from 0 on, got {negative[0]}")
        each = {name: value for name, value in self._each().items() if value is not None}
        numbered: dict[int, dict[str, Any]] = {layer: {} for layer in self.layer_numbers}
        named = {int(layer): where for layer, where in self.layers.items()}
        return {layer: {**each, **where} for layer, where in (numbered | named).items()}

    def _share_a_folder(self) -> bool:
        """Whether several layers would be read from one folder, as nothing tells theirs apart."""
        path = self._each()["path"]
        apart = {
            int(layer) for layer, where in self.layers.items() if layer.isdecimal() and {"path", "source"} & {*where}
        }
        # A usual name holds the layer.
        bound = _WITHOUT_USUAL if path is None else PATH_FORMATS
        return self.format in bound and len({*self.layer_numbers} - apart) > 1 and "{layer}" not in str(path)

    def _each(self) -> dict[str, Any]:
        """What picks the SAE of every layer; `path` among it, which may be none."""
        return {"path": None, **self.each, **({} if self.path is None else {"path": self.path})}


def refuse_unknown_format(name: str) -> None:
    """Refuse a file format that there is not.

    Raises:
        UserError: If it is one.
    """
    if name not in FORMATS:
        raise UserError(f"unknown SAE format {name!r}; there are {', '.join(FORMATS)}")


def refuse_unknown_fold(fold: str, setting: str = "") -> None:
    """Refuse a folding that there is not.

    Args:
        fold: Its name.
        setting: Where a user has named it, if it is not plain.

    Raises:
        UserError: If it is one.
    """
    if fold not in FOLDS:
        of = f"{setting}: " if setting else ""
        raise UserError(f"{of}unknown folding {fold!r}; there are {', '.join(FOLDS)}")
