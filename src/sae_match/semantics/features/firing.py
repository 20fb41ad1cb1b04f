"""One pass of a model over text that finds what features fire on, from Python."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas
import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.saes.sae import SAE
from sae_match.saes.sites import checked_site
from sae_match.semantics.collecting import collect
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.features.opening import TEXT, Reading, opened
from sae_match.semantics.features.table import Activity, feature_table
from sae_match.semantics.passages import Passages
from sae_match.text.batches import TokenBatch


def tables_of(
    model: object, tokenizer: object, saes: Mapping[int, object], text: Iterable[str] | str | Path, how: Reading
) -> dict[int, pandas.DataFrame]:
    """See `features`."""
    what = opened(model, tokenizer, saes, text, how)
    contexts, counts = Contexts(how.contexts, how.sample, how.seed), _Counts(what.saes)
    widths = {layer: sae.d_sae for layer, sae in what.saes.items()}
    collect(what.stream, checked_site(how.site), what.sae, widths, what.batches, contexts, also=counts.add)
    passages = Passages(contexts, what.batches, what.tokenizer)
    return {
        layer: feature_table(layer, layer, counts.activity(layer), passages).to_pandas() for layer in sorted(what.saes)
    }


class _Counts:
    """How often features are active, and how strongly, while text streams by."""

    def __init__(self, saes: Mapping[int, SAE]) -> None:
        self.active = {layer: torch.zeros(sae.d_sae, dtype=torch.int64) for layer, sae in saes.items()}
        self.total = {layer: torch.zeros(sae.d_sae, dtype=torch.float64) for layer, sae in saes.items()}
        self.tokens = dict.fromkeys(saes, 0)

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Count the features of a layer on the tokens of a batch."""
        del batch
        self.active[layer] += (f > 0).sum(0).cpu()
        self.total[layer] += f.sum(0, dtype=torch.float64).cpu()
        self.tokens[layer] += len(f)

    def activity(self, layer: int) -> Activity:
        """What was counted."""
        active = self.active[layer]
        mean = torch.where(active > 0, self.total[layer] / active, torch.nan)
        return Activity({TEXT: active}, mean, self.tokens[layer])
