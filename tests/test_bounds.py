import pytest

from sae_match import bounds
from sae_match.errors import UserError


def test_what_is_as_large_as_allowed_is_read():
    bounds.refuse_beyond(100, 100, "a.json", "it")
    with pytest.raises(UserError, match=r"^a\.json: a line takes 1\.5 KiB; at most 100 bytes is read$"):
        bounds.refuse_beyond(100, 1536, "a.json", "a line")


def test_the_largest_published_saes_are_within_bounds():
    # Gemma Scope, layer 12, 1m; and twice the size in double precision.
    widest = 2 * 4 * 2304 * (1 << 20)
    bounds.refuse_bomb(widest, widest, "params.npz")
    bounds.refuse_bomb(widest // 3, 2 * widest, "params.npz")


def test_what_unpacks_freely_is_bounded():
    bounds.refuse_bomb(1, bounds.UNPACKED_FREELY, "a.npz")
    bounds.refuse_bomb(1 << 30, 20 << 30, "a.npz")
    with pytest.raises(UserError, match=r"a\.npz: its 1 KiB unpack to 2 GiB; beyond 1 GiB at most 20 times its size"):
        bounds.refuse_bomb(1 << 10, 2 << 30, "a.npz")
    with pytest.raises(UserError, match=r"what it holds, unpacked, takes 65 GiB; at most 64 GiB"):
        bounds.refuse_bomb(65 << 30, 65 << 30, "a.npz")
