"""Writes the explorer: the page, and beside it a folder with its scripts and its data in chunks."""

import shutil
import tempfile
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole
from sae_match.report.explorer.checking import refuse_context, refuse_inconsistent, refuse_link
from sae_match.report.explorer.chunks import packed_json, packed_layer, rounded, write_json, write_packed
from sae_match.report.explorer.data import Context, ExplorerData, StepCauses, StepEvidence
from sae_match.report.explorer.judged import Judgements, chunk_of_judgements, write_judgements
from sae_match.report.explorer.paths import in_chunks, paths
from sae_match.report.explorer.relations import about_relations, packed_relations
from sae_match.report.explorer.replacing import (
    CHUNKS,
    FOLDER,
    PAGE,
    is_chunk,
    is_page,
    refuse_foreign_page,
    remove_page_folder,
    remove_unfinished,
)
from sae_match.strings import visible

#: Features in a chunk of paths: little enough to be read in a blink, enough to keep the number of files small.
_FEATURES_OF_CHUNK = 512


def write_explorer(data: ExplorerData, folder: Path) -> Path:
    """Write `report.html` and the folder `report` beside it; returns the page.

    The folder appears when it is whole, the page after it; what an earlier run left of both is replaced, and nothing
    else.
    Contexts of one chunk of paths are in memory at a time.

    Raises:
        UserError: If layers and steps do not fit together, a context marks a token that it does not have, a
            link is no address of the web, the folder cannot be written, or something else has the page's name.
    """
    refuse_inconsistent(data)
    refuse_foreign_page(folder)
    page, beside = folder / PAGE, folder / FOLDER
    unfinished: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        remove_leftovers(page)
        unfinished = Path(tempfile.mkdtemp(dir=folder, prefix=f".{FOLDER}."))
        _write_beside(data, unfinished)
        # No page may stand beside data that is not its own.
        page.unlink(missing_ok=True)
        remove_page_folder(beside)
        unfinished.chmod(0o755)
        unfinished.replace(beside)
        with written_whole(page) as temporary:
            temporary.write_text(_page_text(data.title), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the explorer to {folder}: {error.strerror or error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return page


def judgements_of_page(folder: Path) -> tuple[Path, Path]:
    """The page in a folder, and where its chunks are, which judgements can join.

    Raises:
        UserError: If there is no page, or one that knows of no judgements.
    """
    page, chunks = folder / PAGE, folder / FOLDER / CHUNKS
    if not is_page(page):
        raise UserError(
            f"page={folder}: there is no {PAGE}; it must be the folder of a finished validation with the arm matched"
        )
    if not is_chunk(chunk_of_judgements(chunks)):
        raise UserError(
            f"page={folder}: {PAGE} stands without its folder, or is of an earlier version; run the validation again"
        )
    return page, chunks


def _write_beside(data: ExplorerData, folder: Path) -> None:
    """Scripts, library and chunks."""
    with resources.as_file(resources.files("sae_match.report.explorer")) as package:
        shutil.copytree(package / "page", folder / "page", ignore=shutil.ignore_patterns("*.html"))
        shutil.copytree(package / "vendor", folder / "vendor")
    chunks = folder / CHUNKS
    chunks.mkdir()
    for layer, step in zip(data.layers, data.steps_between(), strict=True):
        name = f"layer-{layer.layer}"
        write_packed(chunks / f"{name}.js", name, packed_layer(layer, step))
    for number, relations in enumerate(data.relations):
        name = f"relations-{number}"
        write_packed(chunks / f"{name}.js", name, packed_relations(relations))
    write_judgements(Judgements(), chunks)
    starts = _write_paths(data, chunks)
    write_json(chunks / "index.js", "index", _index(data, starts))


def _index(data: ExplorerData, starts: Sequence[int]) -> dict[str, object]:
    """What the page reads first.

    `warnings`: what was found and what to do, of each; `alpha` and `fewest`, as `ExplorerData` says; `layers`: number
    or name, number of its chunks, tokens, features, whether there is a step to the next, and whether its pairs were
    judged; `causes`: whether features were switched off; `chunks`: the first path of each chunk of paths;
    `relations`: see `about_relations`.
    """
    numbers = [layer.layer for layer in data.layers]
    return {
        "title": data.title,
        "facts": list(data.facts.items()),
        "warnings": [list(warning) for warning in data.warnings],
        "alpha": data.alpha,
        "fewest": data.fewest_activations,
        "layers": [
            {
                "layer": layer.layer if layer.name is None else layer.name,
                "chunk": layer.layer,
                "tokens": layer.tokens,
                "features": layer.d_sae,
                "step": step is not None,
                "judged": step is not None and step.evidence is not None,
            }
            for layer, step in zip(data.layers, data.steps_between(), strict=True)
        ],
        "causes": any(step.causes is not None for step in data.steps),
        "chunks": list(starts),
        "relations": [about_relations(relations, numbers) for relations in data.relations],
    }


def _write_paths(data: ExplorerData, chunks: Path) -> list[int]:
    """Details of every path, and what can be searched for in each layer; returns the first path of each chunk."""
    reader = _Details(data)
    starts: list[int] = []
    for start, members in in_chunks(paths(data), _FEATURES_OF_CHUNK):
        name = f"paths-{len(starts)}"
        details = [[reader.of(*member) for member in path] for path in members]
        write_packed(chunks / f"{name}.js", name, packed_json(details))
        starts.append(start)
    for layer, fires_on in zip(data.layers, reader.fires_on, strict=True):
        name = f"labels-{layer.layer}"
        write_packed(chunks / f"{name}.js", name, packed_json([list(layer.labels), fires_on]))
    return starts


def _columns(evidence: StepEvidence) -> list[list[float | int | None]]:
    """Of each pair, what the page shows besides q; no numbers that JSON does not know, and 1 and 0 for yes and no."""
    numbers = (evidence.statistic, evidence.p, evidence.margin)
    words = (evidence.mutual_nearest, evidence.encoder_agrees, evidence.decoder_agrees)
    columns: list[list[float | int | None]] = [[rounded(value) for value in column.tolist()] for column in numbers]
    for column in words:
        columns.append([int(value) for value in column.tolist()])
    return columns


def _caused(causes: StepCauses) -> list[list[float | int | None]]:
    """Of each feature, what its partner did when it was switched off; nothing where that is not known."""
    return [
        [rounded(value) for value in causes.carried.tolist()],
        [value or None for value in causes.rank.tolist()],
        [rounded(value) for value in causes.agreement.tolist()],
    ]


class _Details:
    """Details of single features, and on the way the tokens that each fires on.

    Args:
        data: Of all layers.

    Attributes:
        fires_on: Distinct tokens marked in each feature's contexts, joined by spaces, by layer.
    """

    def __init__(self, data: ExplorerData) -> None:
        self.layers = data.layers
        self.means = [layer.mean_activation.tolist() for layer in data.layers]
        self.steps = [
            None if step is None else (step.permutation.tolist(), step.encoder_cosine.tolist(), step.both.tolist())
            for step in data.steps_between()
        ]
        self.evidence = [
            None if step is None or step.evidence is None else _columns(step.evidence) for step in data.steps_between()
        ]
        self.causes = [
            None if step is None or step.causes is None else _caused(step.causes) for step in data.steps_between()
        ]
        self.fires_on = [[""] * layer.d_sae for layer in data.layers]

    def of(self, index: int, feature: int) -> list[object]:
        """What is known of a feature and its pair with the next layer's partner.

        Label, link, mean activation, encoder cosine, co-activation, contexts; and, of a judged pair, statistic, p,
        margin, whether both are nearest, and whether encoders and decoders alone agree. Of a feature that was switched
        off, what its partner did: carried activation, rank, agreement.
        """
        layer, step = self.layers[index], self.steps[index]
        link = layer.links(feature)
        if link is not None:
            refuse_link(link, layer.layer, feature)
        encoder_cosine, both, evidence, causes = None, None, None, None
        if step is not None and step[0][feature] >= 0:
            encoder_cosine, both = rounded(step[1][feature]), step[2][feature]
            if (known := self.evidence[index]) is not None:
                evidence = [column[feature] for column in known]
            if (caused := self.causes[index]) is not None:
                causes = [column[feature] for column in caused]
        return [
            layer.labels[feature],
            link,
            rounded(self.means[index][feature]),
            encoder_cosine,
            both,
            self._contexts(index, feature),
            evidence,
            *([causes] if any(self.causes) else []),
        ]

    def _contexts(self, index: int, feature: int) -> list[list[object]]:
        """Dataset, document, marked token's number, value and tokens of each."""
        layer = self.layers[index]
        contexts: Sequence[Context] = layer.contexts(feature)
        for context in contexts:
            refuse_context(context, layer.layer, feature)
        marked = (context.tokens[context.position].strip() for context in contexts)
        self.fires_on[index][feature] = " ".join(dict.fromkeys(token for token in marked if token))
        return [
            [context.dataset, context.document, context.position, rounded(context.value), list(context.tokens)]
            for context in contexts
        ]


def _page_text(title: str) -> str:
    template = resources.files("sae_match.report.explorer").joinpath("page", PAGE).read_text(encoding="utf-8")
    return template.replace("{{title}}", escape(visible(title)))
