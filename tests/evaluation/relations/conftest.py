import pytest
import torch

from sae_match.text.batches import TokenBatch


@pytest.fixture(scope="session")
def tiny_batches() -> list[TokenBatch]:
    """Documents of unequal length of two datasets."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for dataset, documents in (("one", (0, 1)), ("one", (2, 3)), ("two", (0, 1))):
        ids = torch.randint(3, 50, (2, 12), generator=generator)
        mask = torch.ones(2, 12, dtype=torch.bool)
        mask[1, 7:] = False
        scored = mask.clone()
        scored[:, 0] = False
        batches.append(TokenBatch(dataset, ids, mask, scored, documents))
    return batches
