"""Places in the evaluated text, as words: the tokens around them, and what a feature fires on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from re import sub

from transformers import PreTrainedTokenizerBase

from sae_match.semantics.contexts import Contexts, Place, shares
from sae_match.text.batches import TokenBatch

# A label names so many tokens, and the share of those that make at least a tenth of the sample.
_NAMED, _LEAST_SHARE = 3, 0.1
# Where those make less than a third of it, the feature fires on many tokens, and shares would mislead.
_LEAST_COVERED = 1 / 3
# Before and after the token that a feature fires on.
_BEFORE, _AFTER = 10, 5


@dataclass(frozen=True)
class Passage:
    """A stretch of text in which a feature fires.

    Attributes:
        tokens: Texts of consecutive tokens.
        position: Which of them it fires on.
        place: Where that is.
    """

    tokens: tuple[str, ...]
    position: int
    place: Place


class Passages:
    """Looks places up in the text.

    Args:
        contexts: What was collected.
        batches: The text that it was collected on, all of it.
        tokenizer: The language model's.
    """

    def __init__(self, contexts: Contexts, batches: Sequence[TokenBatch], tokenizer: PreTrainedTokenizerBase) -> None:
        self.contexts = contexts
        self._rows: dict[tuple[str, int], list[int]] = {
            (batch.dataset, document): batch.input_ids[row][batch.attention_mask[row]].tolist()
            for batch in batches
            for row, document in enumerate(batch.documents)
        }
        self._text = cache(lambda token: text_of(token, tokenizer))
        # Tables and the explorer ask for the same ones.
        self._labels: dict[tuple[int, int], str] = {}

    def strongest(self, layer: int, feature: int, before: int = _BEFORE, after: int = _AFTER) -> list[Passage]:
        """The passages in which a feature is strongest, strongest first, each from another document."""
        return [self._around(place, before, after) for place in self.contexts.strongest(layer, feature)]

    def profile(self, layer: int, feature: int) -> list[tuple[str, float]]:
        """Share of each token in all that a feature says, estimated from a sample, largest first."""
        return shares(self.sampled(layer, feature))

    def sampled(self, layer: int, feature: int) -> list[str]:
        """Tokens on which a feature is active, drawn in proportion to its value."""
        places = self.contexts.sample(layer, feature)
        return [self._text(self._row(place)[place.position]) for place in places]

    def label(self, layer: int, feature: int) -> str:
        """What a feature fires on, in a few words: tokens and the share of each; empty where it was never active."""
        if (layer, feature) not in self._labels:
            self._labels[layer, feature] = self._label(layer, feature)
        return self._labels[layer, feature]

    def _label(self, layer: int, feature: int) -> str:
        profile = self.profile(layer, feature)
        named = [entry for entry in profile[:_NAMED] if entry[1] >= _LEAST_SHARE]
        if profile and sum(share for _, share in named) < _LEAST_COVERED:
            return "many: " + ", ".join(_shown(token) for token, _ in profile[:_NAMED])
        return ", ".join(f"{_shown(token)} {share:.0%}" for token, share in named)

    def _around(self, place: Place, before: int, after: int) -> Passage:
        row, first = self._row(place), max(1, place.position - before)
        tokens = row[first : place.position + after + 1]
        return Passage(tuple(self._text(token) for token in tokens), place.position - first, place)

    def _row(self, place: Place) -> list[int]:
        return self._rows[place.dataset, place.document]


def text_of(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of a token in the middle of a sentence: some tokenizers strip the space of a first one."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1]
    alone, both = (
        str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)) for ids in ([anchor], [anchor, token])
    )
    return both[len(alone) :]


def _shown(token: str) -> str:
    """A token in quotes; runs of spaces, as code is indented with, are counted."""
    return sub(" {3,}", lambda run: f"[{len(run[0])} spaces]", repr(token))
