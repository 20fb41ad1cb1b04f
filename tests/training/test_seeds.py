import torch

from sae_match.training.seeds import seeded


def test_equal_purposes_draw_alike_and_others_do_not():
    def drawn(*purpose):
        return torch.randint(1 << 40, (4,), generator=seeded(*purpose)).tolist()

    assert drawn(0, "batches", 5) == drawn(0, "batches", 5)
    assert len({tuple(drawn(*purpose)) for purpose in ((0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1))}) == 4
