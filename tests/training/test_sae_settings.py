import pytest

from sae_match.errors import UserError
from sae_match.training.sae_settings import (
    Block,
    Blocks,
    SAETrainingSettings,
    blocks_of,
    buffer_bytes,
    settled,
)


def settings(**changes):
    return SAETrainingSettings(**{"d_sae": 8, "l0": [2.0], "steps": 10, "batch": 4, **changes})


def test_everything_is_spelt_out():
    found = settled(settings(), n_layers=3, d_in=5)
    assert (found.layers, found.l0, found.tokens) == ([0, 1, 2], [2.0, 2.0, 2.0], 40)


def test_no_more_tokens_are_collected_than_the_steps_use():
    assert [settled(settings(tokens=tokens), 3, 5).tokens for tokens in (None, 39, 41)] == [40, 39, 40]


def test_aims_are_given_for_chosen_layers_or_for_all():
    assert settled(settings(layers=[2, 0], l0=[1.0, 2.0]), 3, 5).l0 == [1.0, 2.0]
    assert settled(settings(layers=[2, 0], l0=[1.0, 2.0, 3.0]), 3, 5).l0 == [3.0, 1.0]


def test_expansion_decides_before_the_width():
    assert settled(settings(expansion=4), 3, 5).d_sae == 20


def test_a_buffer_that_holds_all_is_filled_once_and_each_activation_is_used_several_times():
    # One layer of five dimensions in bfloat16 takes ten bytes a token.
    chosen = settled(settings(layers=[0], tokens=20, buffer=205e-9), 3, 5)
    assert blocks_of(chosen, 5) == Blocks(steps=10, tokens=20, steps_each=10)
    assert blocks_of(chosen, 5).at(9) == Block(first=0, steps=10, activations=20)
    assert buffer_bytes(chosen, 5) == 200


def test_a_smaller_buffer_is_filled_again_and_the_last_block_is_what_is_left():
    blocks = blocks_of(settled(settings(layers=[0, 1], buffer=330e-9), 3, 5), 5)
    assert blocks == Blocks(steps=10, tokens=40, steps_each=4)
    assert [blocks.at(step) for step in (0, 3, 4, 8, 9)] == [
        Block(0, 4, 16),
        Block(0, 4, 16),
        Block(4, 4, 16),
        Block(8, 2, 8),
        Block(8, 2, 8),
    ]
    assert blocks.number == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [3]}, r"training\.layers must lie in 0 … 2, got \[3\]"),
        ({"layers": [1, 1]}, r"training\.layers names a layer twice: \[1, 1\]"),
        ({"d_sae": 0}, r"training\.d_sae must be positive, got 0"),
        ({"expansion": 0}, r"training\.expansion must be positive, got 0"),
        ({"steps": 0}, r"training\.steps must be positive, got 0"),
        ({"tokens": 0}, r"training\.tokens must be positive, got 0"),
        ({"context": 1}, r"training\.context must be at least 2"),
        ({"checkpoint_every": -1}, r"training\.checkpoint_every must not be negative, got -1"),
        ({"l0": [1.0, 2.0]}, r"training\.l0 needs one entry"),
        ({"l0": [9.0]}, r"training\.l0 must lie between 0 and d_sae = 8, got \[9\.0\]"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        settled(settings(**changes), n_layers=3, d_in=5)
    assert "\n" not in str(caught.value)


def test_a_buffer_smaller_than_a_step_is_refused_with_the_size_it_needs():
    with pytest.raises(UserError, match=r"training\.buffer=3\.5e-08 gigabytes holds 3 activations .* at least 4e-08"):
        blocks_of(settled(settings(layers=[0], buffer=35e-9), 3, 5), 5)
