"""`features`: what features fire on, in one call. Imports nothing heavy until it is called."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

#: Documents that are read of a file or a folder.
DOCUMENTS = 256
#: Tokens at which a text is cut off, or the model's positions where those are fewer.
MAX_TOKENS = 1024


def features(
    model: object,
    saes: Mapping[int, object],
    text: Iterable[str] | str | Path,
    *,
    tokenizer: object = None,
    site: str = "residual",
    documents: int = DOCUMENTS,
    max_tokens: int | None = None,
    bos: str | None = None,
    contexts: int = 8,
    sample: int = 24,
    seed: int = 0,
    batch: int = 4,
    device: str = "auto",
) -> dict[int, "pandas.DataFrame"]:
    """What the features of SAEs fire on: reads text once, and gives a table for each layer, a row a feature.

    Its columns are those of `features/L03.parquet` that a validation leaves: `label`, `active`, `top_tokens`,
    `contexts` and so on (`sae_match.semantics.features.table.feature_table`).

    Args:
        model: `"bundled"`; a folder, a repository of the hub or a GGUF file, as `model.source` takes it; a causal
            language model of transformers, or a `ResidualStream`, where it is and as it is, with its `tokenizer`.
        saes: The SAE of each layer.
        text: Texts in a list; or a file or a folder of them: text, JSON lines or Parquet.
        tokenizer: Of a model that is given.
        site: Where in its decoder layer each SAE reads, one of `sae_match.saes.sites.SITES`.
        documents: Most documents that are read of a file or folder, drawn by `seed`; a list is read whole.
        max_tokens: A text is cut off after so many tokens, BOS included; by default after 1,024, or as many as the
            model has positions for.
        bos: Token that each text begins with, for a tokenizer that has no BOS.
        contexts: Documents kept of each feature, in which it is strongest.
        sample: Tokens sampled of each feature, for what it fires on.
        seed: Of what is drawn.
        batch: Texts at a time.
        device: Where a model that is loaded goes; `auto` takes a GPU where there is one.

    Raises:
        UserError: If model, text or SAEs cannot be had or do not fit each other.
    """
    # transformers takes seconds, and the mathematics does without it.
    from sae_match.semantics.features.firing import tables_of
    from sae_match.semantics.features.opening import Reading

    how = Reading(site, documents, max_tokens, bos, contexts, sample, seed, batch, device)
    return tables_of(model, tokenizer, saes, text, how)
