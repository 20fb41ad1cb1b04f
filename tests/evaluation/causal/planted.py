"""A residual network made by hand, whose layer copies, turns, makes and ends features: every cause in it is known."""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from sae_match.evaluation.arm_names import MATCHED, RANDOM
from sae_match.evaluation.causal.effects import Effects
from sae_match.evaluation.causal.sample import NEAREST_OTHER, Sample
from sae_match.evaluation.causal.switching import Switching
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.subject import Subject
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

D, FEATURES, WORDS = 12, 6, 40
#: What each of the first layer's features becomes in the second: axes of the residual stream.
COPIED, ALSO_COPIED, TURNED, MAKES, ENDS, LAST = range(FEATURES)
TURNED_TO, MADE = 8, 9
#: Axes of the second layer's features. What the feature that makes another makes is the fifth's.
SECOND = (COPIED, ALSO_COPIED, TURNED_TO, MAKES, MADE, LAST)
OF_TURNED, OF_MADE = SECOND.index(TURNED_TO), SECOND.index(MADE)


class Layer(nn.Module):
    """Adds a linear map of the residual stream to it."""

    def __init__(self, change):
        super().__init__()
        self.change = nn.Parameter(change)

    def forward(self, hidden_states, **_):
        return hidden_states + hidden_states @ self.change


class Decoder(nn.Module):
    def __init__(self, embedding, changes):
        super().__init__()
        self.embed_tokens = nn.Embedding.from_pretrained(embedding)
        self.layers = nn.ModuleList([Layer(change) for change in changes])
        self.norm = nn.Identity()

    def forward(self, input_ids, attention_mask=None, **_):
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, attention_mask=attention_mask)
        return self.norm(x)


class PlantedModel(PreTrainedModel):
    base_model_prefix = "model"
    config_class = PretrainedConfig

    def __init__(self):
        super().__init__(PretrainedConfig(hidden_size=D))
        generator = torch.Generator().manual_seed(0)
        # Each word says some features, with values of its own; none says what the layer makes.
        said = torch.rand(WORDS, FEATURES, generator=generator)
        embedding = torch.zeros(WORDS, D)
        embedding[:, :FEATURES] = torch.where(said > 0.4, 1 + said, 0)
        change = torch.zeros(D, D)
        change[TURNED, TURNED], change[TURNED, TURNED_TO] = -1, 1
        change[MAKES, MADE] = 1.5
        change[ENDS, ENDS] = -1
        self.model = Decoder(embedding, [torch.zeros(D, D), change, torch.zeros(D, D)])
        self.lm_head = nn.Linear(D, WORDS, bias=False)
        self.lm_head.weight = nn.Parameter(torch.randn(WORDS, D, generator=generator))
        # The next word is none of the business of what was made.
        self.lm_head.weight.data[:, MADE] = 0

    def get_output_embeddings(self):
        return self.lm_head


def dictionary(axes):
    """An SAE that reads and writes axes."""
    rows = torch.eye(D)[list(axes)]
    return SAE(rows.T.clone(), torch.zeros(len(axes)), rows, torch.zeros(D), torch.full((len(axes),), 0.5))


def planted_batch(number=0, documents=3, seq=12):
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(WORDS, (documents, seq), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[-1, seq - 3 :] = False
    scored = mask.clone()
    scored[:, 0] = False
    return TokenBatch("words", ids, mask, scored, tuple(range(number * documents, (number + 1) * documents)))


def planted_measurement(number=0, one_at_a_time=False):
    """A batch of words with its clean pass."""
    stream = ResidualStream(PlantedModel())
    stream.one_at_a_time = one_at_a_time
    saes = {0: dictionary(range(FEATURES)), 1: dictionary(SECOND), 2: dictionary(SECOND)}
    subject = Subject(stream, "residual", saes.__getitem__, {}, {}, [])
    return BatchMeasurement.captured(subject, planted_batch(number), [(0, 1), (0, 2), (1, 2)])


TRUE = torch.tensor([COPIED, ALSO_COPIED, OF_TURNED, MAKES, OF_MADE, LAST])


EVERY = torch.arange(FEATURES)


def sample_of(partner=TRUE, other=None, pair=(0, 1), share=1.0):
    other = partner.roll(1) if other is None else other
    nan, no = torch.full((FEATURES,), torch.nan, dtype=torch.float64), torch.zeros(FEATURES, dtype=torch.bool)
    return Sample(
        pair,
        EVERY,
        {MATCHED: partner, NEAREST_OTHER: other, RANDOM: torch.full_like(partner, -1)},
        {"words": torch.full((FEATURES,), share, dtype=torch.float64)},
        nan,
        nan,
        nan,
        {"significant": no, "not_significant": no},
        FEATURES,
    )


def switched(sample, *numbers, **how):
    effects = Effects(len(sample), sample.width)
    for number in numbers or (0,):
        Switching(planted_measurement(number, **how), sample, ["words"], 0).add_to(effects)
    return effects
