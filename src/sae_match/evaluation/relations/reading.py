"""Text as residuals, batch after batch, each token with its document."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.statistics.streaming import Active
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site
from sae_match.text.batches import TokenBatch


@dataclass(frozen=True)
class Read:
    """What SAEs read on the tokens of a batch; those that are not scored are left out.

    Attributes:
        dataset: Of the batch.
        values: Of each layer.
        document: Number, in the dataset, of each token's document.
    """

    dataset: str
    values: dict[int, Float[Tensor, "tokens d_in"]]
    document: Int64[Tensor, " tokens"]


@torch.inference_mode()
def read(stream: ResidualStream, site: Site, layers: Sequence[int], batches: Iterable[TokenBatch]) -> Iterator[Read]:
    """Each batch of a text as values of a site, in float32.

    Args:
        stream: The language model.
        site: Where SAEs read.
        layers: Whose values; one that is there twice is read once.
        batches: The text.
    """
    device = stream.model.get_input_embeddings().weight.device
    for batch in batches:
        here = batch.to(device)
        clean = stream.capture(here.input_ids, here.attention_mask, site, keep=set(layers), whole=False)
        numbers = torch.tensor(batch.documents, dtype=torch.int64, device=device)
        document = numbers[:, None].expand(here.scored.shape)[here.scored]
        values = {layer: clean.values[layer][here.scored].float() for layer in set(layers)}
        yield Read(batch.dataset, values, document)


def activity_on_text(
    stream: ResidualStream,
    site: Site,
    saes: tuple[SAE, SAE],
    layers: tuple[int, int],
    batches: Sequence[TokenBatch],
    watch: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, PairedActivity]:
    """Where the features of two SAEs are active on a text, by dataset.

    Args:
        stream: The language model.
        site: Where both read.
        saes: Source and target, on the model's device.
        layers: That they read; the same twice for two dictionaries of one layer.
        batches: The text.
        watch: Told how many batches are done, and of how many.
    """
    records: dict[str, PairedActivity] = {}
    for number, one in enumerate(read(stream, site, layers, batches), 1):
        record = records.setdefault(one.dataset, PairedActivity(saes[0].d_sae, saes[1].d_sae))
        source, target = (Active.of(sae.encode(one.values[layer])) for sae, layer in zip(saes, layers, strict=True))
        record.add(source, target, one.document)
        watch(number, len(batches))
    return records
