"""The explorer's reach: how soon a page of many features is there, and how soon a path is, in a real browser."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch

from sae_match.benchmark.browser import running_browser
from sae_match.benchmark.made_up_relations import made_up_overlap, made_up_relations
from sae_match.benchmark.measuring import Case, Figure
from sae_match.report.explorer.data import Context, ExplorerData, LayerData, RelationsData, StepData
from sae_match.report.explorer.writing import write_explorer

if TYPE_CHECKING:
    from playwright.sync_api import Page

_LAYERS, _FEATURES = 26, 16_384
_NARROW, _WIDE = 16_384, 65_536
_TOKENS, _CONTEXTS, _CONTEXT_TOKENS = 300_000, 4, 16
_PATHS, _SEARCHES, _COMPONENTS = 50, 20, 20
_WORDS = 20_000
_SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "is")]
_SIZES = ((1440, 900), (375, 812))

_CHANGE_AND_WAIT = """([measure, changes]) => new Promise((resolve) => {
    const watch = new PerformanceObserver((entries) => {
        const [found] = entries.getEntriesByName(measure);
        if (found) { watch.disconnect(); resolve(found.duration); }
    });
    watch.observe({ type: "measure" });
    Explorer.state.set(changes);
})"""


def cases() -> dict[str, Case]:
    """Every case by name."""
    return {
        "explorer": partial(explorer, _LAYERS, _FEATURES),
        "explorer-relations": partial(explorer_of_relations, _NARROW, _WIDE),
    }


def explorer(layers: int, features: int) -> list[Figure]:
    """Time of writing, size on disk, and times of the page at two sizes, of made-up layers."""
    times = partial(_times, layers=layers, features=features)
    return _measured(f"{layers} layers of {features:,} features", made_up(layers, features), times)


def explorer_of_relations(narrow: int, wide: int) -> list[Figure]:
    """The same of two dictionaries of one layer with made-up relations, and times of the view of their components."""
    times = partial(_times_of_relations, narrow=narrow)
    return _measured(f"relations of {narrow:,} to {wide:,} features", made_up_of_two(narrow, wide), times)


def _measured(
    name: str, data: ExplorerData, times: Callable[[str, Path, tuple[int, int]], list[Figure]]
) -> list[Figure]:
    """A page written, its size, and its times at each size of the window."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        page = write_explorer(data, Path(folder))
        figures = [
            Figure(name, "time of writing", time.perf_counter() - start, "s"),
            Figure(name, "size on disk", _megabytes(Path(folder)), "MB", 150.0),
        ]
        for pixels in _SIZES:
            figures += times(f"the same, {pixels[0]} by {pixels[1]} pixels", page, pixels)
    return figures


def made_up_of_two(narrow: int, wide: int, seed: int = 0) -> ExplorerData:
    """Two dictionaries of one layer: the second is wider, and most features of the first split in it."""
    generator = np.random.default_rng(seed)
    words = _words(generator)
    layers = [_layer(number, width, words, generator) for number, width in enumerate((narrow, wide))]
    layers = [replace(layer, name=name) for layer, name in zip(layers, ("12@narrow", "12@wide"), strict=True)]
    relations = made_up_relations(narrow, wide, generator)
    given = RelationsData(0, 1, relations, {"prose": made_up_overlap(relations, generator)})
    facts = {"Model": "made up", "Text": f"{_TOKENS:,} tokens of made-up words", "Matcher": "a random permutation"}
    return ExplorerData("A made-up model", layers, [_step(layers[0], layers[1], generator)], facts, relations=[given])


def made_up(layers: int, features: int, seed: int = 0) -> ExplorerData:
    """Layers whose features are active as rarely and follow each other as loosely as real ones, with made-up words."""
    generator = np.random.default_rng(seed)
    words = _words(generator)
    made = [_layer(layer, features, words, generator) for layer in range(layers)]
    steps = [_step(source, target, generator) for source, target in pairwise(made)]
    facts = {"Model": "made up", "Text": f"{_TOKENS:,} tokens of made-up words", "Matcher": "a random permutation"}
    return ExplorerData("A made-up model", made, steps, facts)


def _words(generator: np.random.Generator) -> list[str]:
    """A long text of words, each as frequent as its rank says."""
    counts = generator.integers(1, 5, _WORDS)
    words = [" " + "".join(generator.choice(_SYLLABLES, count)) for count in counts]
    return [words[rank % _WORDS] for rank in generator.zipf(1.2, 200_000) - 1]


def _layer(layer: int, features: int, words: list[str], generator: np.random.Generator) -> LayerData:
    share = np.where(generator.random(features) < 0.05, 0, np.exp(generator.normal(-6.5, 1.5, features))).clip(0, 1)
    active = generator.binomial(_TOKENS, share)
    mean = np.where(active > 0, np.exp(generator.normal(2, 0.6, features)), np.nan)
    starts = generator.integers(0, len(words) - _CONTEXT_TOKENS, (features, _CONTEXTS)).tolist()

    def contexts(feature: int) -> list[Context]:
        if active[feature] == 0:
            return []
        value = 2 * float(mean[feature])
        return [
            Context(
                words[start : start + _CONTEXT_TOKENS], _CONTEXT_TOKENS - 4, value / (1 + rank), "prose", start % 300
            )
            for rank, start in enumerate(starts[feature])
        ]

    def label(feature: int) -> str:
        if active[feature] == 0:
            return ""
        return "fires on" + "".join(words[start + _CONTEXT_TOKENS - 4] for start in starts[feature])

    return LayerData(
        layer,
        _TOKENS,
        torch.from_numpy(active),
        torch.from_numpy(mean),
        [label(feature) for feature in range(features)],
        contexts,
        lambda feature: f"https://www.neuronpedia.org/gemma-2-2b/{layer}-gemmascope-res-16k/{feature}",
    )


def _step(source: LayerData, target: LayerData, generator: np.random.Generator) -> StepData:
    features = source.d_sae
    permutation = torch.from_numpy(generator.permutation(target.d_sae)[:features])
    cosine = generator.beta(5, 2 + 3 / (1 + source.layer), features)
    least = torch.minimum(source.active, target.active[permutation]).numpy()
    return StepData(
        source.layer,
        target.layer,
        permutation,
        torch.from_numpy(6 * (1.02 - cosine)),
        torch.from_numpy(cosine * generator.uniform(0.6, 1, features)),
        torch.from_numpy(cosine),
        torch.from_numpy((least * cosine).astype(np.int64)),
    )


def _times(name: str, page: Path, size: tuple[int, int], layers: int, features: int) -> list[Figure]:
    """Times of a page of so many pixels, as the page itself measures them up to the frame that shows the result."""
    with running_browser() as browser:
        tab = browser.new_page(viewport={"width": size[0], "height": size[1]})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready]")
        first = tab.evaluate("performance.getEntriesByName('explorer-first-view')[0].startTime") / 1000
        opening = [_seconds_of(tab, "explorer-path", feature) for feature in _features(layers, features)]
        searching = [_seconds_of(tab, "explorer-search", word) for word in _searches()]
    return [
        Figure(name, "time to the first view", first, "s", 2.0),
        Figure(name, f"median time to open a path, of {_PATHS}", median(opening), "s", 0.2),
        Figure(name, "longest", max(opening), "s", 0.2),
        Figure(name, f"median time of a search, of {_SEARCHES}", median(searching), "s"),
        Figure(name, "longest, the first, with the descriptions yet to be read", max(searching), "s"),
    ]


def _times_of_relations(name: str, page: Path, size: tuple[int, int], narrow: int) -> list[Figure]:
    """Times of a page with relations: the first view, features with their relatives, and components."""
    generator = np.random.default_rng(3)
    with running_browser() as browser:
        tab = browser.new_page(viewport={"width": size[0], "height": size[1]})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready]")
        first = tab.evaluate("performance.getEntriesByName('explorer-first-view')[0].startTime") / 1000
        wanted = generator.integers(narrow, size=_PATHS)
        opening = [_seconds_of(tab, "explorer-path", {"f": f"12@narrow/{feature}"}) for feature in wanted]
        view = _seconds_of(tab, "explorer-components", {"rel": "0"})
        orders = [_seconds_of(tab, "explorer-components", {"relsort": by}) for by in ("surest", "size")]
        chosen = [
            _seconds_of(tab, "explorer-components", {"comp": str(number)})
            for number in generator.choice(narrow // 2, _COMPONENTS, replace=False)
        ]
    return [
        Figure(name, "time to the first view", first, "s", 2.0),
        Figure(name, f"median time to open a feature with its relatives, of {_PATHS}", median(opening), "s", 0.2),
        Figure(name, "longest, the first, with the relations yet to be read", max(opening), "s"),
        Figure(name, "time to open the view of components", view, "s", 0.2),
        Figure(name, "longest time to order it otherwise", max(orders), "s", 0.2),
        Figure(name, f"median time to draw a component, of {_COMPONENTS}", median(chosen), "s", 0.2),
    ]


def _seconds_of(tab: "Page", measure: str, changes: Mapping[str, str]) -> float:
    """Seconds that the page takes over a change of what is chosen."""
    return float(tab.evaluate(_CHANGE_AND_WAIT, [measure, dict(changes)])) / 1000


def _features(layers: int, features: int) -> Iterator[dict[str, str]]:
    """Random features."""
    generator = np.random.default_rng(1)
    for _ in range(_PATHS):
        yield {"f": f"{generator.integers(layers)}/{generator.integers(features)}"}


def _searches() -> Iterator[dict[str, str]]:
    """Beginnings of words, of one to three syllables."""
    generator = np.random.default_rng(2)
    for _ in range(_SEARCHES):
        yield {"q": "".join(generator.choice(_SYLLABLES, generator.integers(1, 4)))}


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
