"""Training of a small Gemma 2, from scratch or further."""

import math

import lightning as L
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers import Gemma2Config, PreTrainedModel

from sae_match.training.language_model.settings import LanguageModelSettings


def gemma_2_config(settings: LanguageModelSettings, *, bos: int, eos: int, pad: int) -> Gemma2Config:
    """Gemma 2's own architecture at the size that `settings` names."""
    return Gemma2Config(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        head_dim=settings.head_width,
        query_pre_attn_scalar=settings.head_width,
        intermediate_size=settings.mlp_width,
        sliding_window=settings.sliding_window,
        max_position_embeddings=8 * settings.context,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )


class LanguageModelTraining(L.LightningModule):
    """Next-token training on crops that begin with BOS."""

    def __init__(self, settings: LanguageModelSettings, model: PreTrainedModel) -> None:
        super().__init__()
        self.settings = settings
        self.model = model
        self.run = torch.compile(self.model) if settings.compile else self.model

    def _loss(self, input_ids: Int[Tensor, "batch context"]) -> Float[Tensor, ""]:
        logits = self.run(input_ids=input_ids, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), input_ids[:, 1:].flatten())

    def training_step(self, batch: Int[Tensor, "batch context"], batch_idx: int) -> Float[Tensor, ""]:
        loss = self._loss(batch)
        self.log("loss/training", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Int[Tensor, "batch context"], batch_idx: int, dataloader_idx: int = 0) -> None:
        name = f"loss/held_out_{dataloader_idx}"
        self.log(name, self._loss(batch), prog_bar=True, add_dataloader_idx=False, batch_size=len(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.settings
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(0.9, 0.95),
        )

        def schedule(step: int) -> float:
            if step < settings.warmup:
                return (step + 1) / settings.warmup
            progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
            return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
