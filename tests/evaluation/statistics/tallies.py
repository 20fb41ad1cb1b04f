"""Tallies of a few numbers."""

import torch

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.statistics.streaming import DocumentVectors, PairActivity
from sae_match.evaluation.statistics.tally import Layout, Tally

PAIR = (0, 1)


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def empty(pairs=(PAIR,), arms=("layer_drop", "matched"), datasets=("prose",), d_in=2):
    layout = Layout(list(pairs), list(arms), list(datasets), d_in, dict.fromkeys(range(4), 2))
    tally = Tally(layout)
    every = [*layout.layers(), *layout.runs(), *layout.unmeasured_changes()]
    tally.refer((key, torch.zeros(d_in)) for key in every)
    return tally


def spread(vectors):
    """Sums of vectors, as many a document."""
    documents, tokens, d_in = vectors.shape
    position = torch.arange(documents).repeat_interleave(tokens)
    return DocumentVectors.of(vectors.flatten(0, 1), position, documents, doubles([0.0] * d_in))


def filled(documents, pairs=(PAIR,), arms=("layer_drop", "matched"), datasets=("prose",), seed=0):
    """Sums of random documents and, for each pair, what each document adds to the loss."""
    tally, generator = empty(pairs, arms, datasets, d_in=5), torch.Generator().manual_seed(seed)
    weights = bootstrap_weights("prose", range(documents), 0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    clean, added = torch.stack([20 + normal(documents), torch.full((documents,), 9).double()], 1), {}
    tally.add_clean("prose", clean, weights)
    for layer in {layer for pair in pairs for layer in pair}:
        active = 4 + torch.stack([normal(documents).abs(), torch.full((documents,), 6).double()], 1)
        tally.add_layer((layer, "prose"), spread(normal(documents, 10, 5) + 3), active, torch.tensor([5, 6]), weights)
    for pair in pairs:
        for arm in arms:
            key, more = (pair, arm, "prose"), 3 + normal(documents)
            added[pair, arm] = more.numpy()
            tally.add_loss(key, clean + torch.stack([more, torch.zeros(documents)], 1), weights)
            tally.add_error(key, spread(normal(documents, 10, 5) / 2), weights)
            if arm == "matched":
                together = 3 + torch.rand(documents, 1, generator=generator).double()
                columns = together + torch.tensor([0, 2, 3])
                tally.add_pairs(key, PairActivity(columns, torch.tensor([2, 1])), weights)
    return tally, added
