"""A sentence encoder as judge: the cosine of two descriptions' embeddings."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.loading import load_tokenizer, model_errors
from sae_match.model.settings import ModelSettings
from sae_match.semantics.judge.rubric import cleaned
from sae_match.semantics.judge.settings import JudgeSettings, refuse_impossible_judge
from sae_match.semantics.judge.verdicts import Cuts, DescribedPair, Estimate, Verdict, Watch, silent

# Encoders have a pooler that was not trained; means do without it.
_DISPENSABLE = "pooler"
# Tokens of a text at most, where the model does not say.
_LONGEST = 512
# Where a user names the encoder.
_SETTING = "judge.model"


class EmbeddingJudge:
    """Compares descriptions by the cosine of the means of their tokens' last hidden states.

    Models that were trained to be read another way, by their first token or behind a prefix, are not read that way.

    Args:
        name: Of the model.
        model: Encoder, frozen.
        tokenizer: Its tokenizer.
        cuts: That turn a cosine into a label.
        batch_size: Texts at a time.
    """

    def __init__(
        self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cuts: Cuts, batch_size: int
    ) -> None:
        self.name = f"embedding {name}"
        self._model, self._tokenizer = model.eval(), tokenizer
        self._cuts, self._batch_size = cuts, batch_size
        positions = getattr(model.config, "max_position_embeddings", None) or _LONGEST
        self._longest = min(positions, tokenizer.model_max_length)

    def obstacle(self) -> None:
        """There is none: nobody is called."""

    def estimate(self, pairs: Sequence[DescribedPair]) -> Estimate:
        """Nothing is called and nothing is paid."""
        return Estimate()

    def judge(self, pairs: Sequence[DescribedPair], watch: Watch = silent) -> list[Verdict]:
        """A verdict for each pair; without a label where a description is empty.

        Args:
            pairs: Of descriptions.
            watch: Told how many texts are encoded, and of how many.

        Raises:
            UserError: If the model makes something of a text that is no embedding.
        """
        texts = [tuple(cleaned(side.text) for side in pair) for pair in pairs]
        # Of similar length together, so that little is padding.
        different = sorted(filter(None, {text for both in texts for text in both}), key=lambda text: (len(text), text))
        embeddings: dict[str, Tensor] = {}
        for batch in _batches(different, self._batch_size):
            embeddings.update(zip(batch, self.embed(batch), strict=True))
            watch(len(embeddings), len(different))
        return [self._verdict(*(embeddings.get(text) for text in both)) for both in texts]

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Float[Tensor, "texts d"]:
        """Embeddings of unit norm.

        Raises:
            UserError: If one is not finite, or the model does not know a token.
        """
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self._model.device)
        self._refuse_unknown(tokens)
        hidden = self._model(**tokens).last_hidden_state.float()
        weight = tokens["attention_mask"][..., None].to(hidden)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        if not torch.isfinite(mean).all():
            raise UserError(f"{self.name} gives embeddings that are not finite; are the model's weights sound?")
        unit: Tensor = torch.nn.functional.normalize(mean, dim=-1).cpu()
        return unit

    def _refuse_unknown(self, tokens: Any) -> None:
        """Check that the model knows all tokens; padding that it does not know is replaced, as nothing looks at it."""
        ids, rows = tokens["input_ids"], self._model.get_input_embeddings().weight.shape[0]
        unknown = ids >= rows
        if (read := ids[unknown & tokens["attention_mask"].bool()]).numel():
            raise UserError(
                f"{self.name}: its tokenizer makes the token {int(read[0])} of a description, and its embedding matrix "
                f"has {rows} rows ({_SETTING}); take the model's own tokenizer"
            )
        tokens["input_ids"] = ids.masked_fill(unknown, 0)

    def _verdict(self, first: Tensor | None, second: Tensor | None) -> Verdict:
        if first is None or second is None:
            return Verdict((), reason="a description is empty")
        cosine = float((first @ second).clamp(-1, 1))
        return Verdict((self._cuts.label(cosine),), cosine)


def open_embedding_judge(settings: JudgeSettings) -> EmbeddingJudge:
    """The judge with the model that the user names.

    Raises:
        UserError: If none is named, it cannot be loaded, or there are no cuts: cosines of different models are
            not comparable.
    """
    refuse_impossible_judge(settings)
    name, cuts = settings.model or "", Cuts.of(settings.cuts or ())
    encoder = ModelSettings(name)
    tokenizer = load_tokenizer(encoder, _SETTING)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with model_errors(name, _SETTING):
        loaded: Any = AutoModel.from_pretrained(encoder.location, output_loading_info=True)
        model, report = loaded
        model = model.to(settings.device)
    if absent := sorted(key for key in report["missing_keys"] if _DISPENSABLE not in key):
        raise UserError(
            f"the files of {name} ({_SETTING}) lack {len(absent)} of the model's weights, {absent[0]} among "
            "them; is it a sentence encoder?"
        )
    return EmbeddingJudge(name, model, tokenizer, cuts, settings.batch_size)


def _batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
