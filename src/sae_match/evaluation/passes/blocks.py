"""How much of a batch is computed at one time: as much as keeps a device busy and fits into its memory."""

from dataclasses import dataclass

import torch

from sae_match.model.sizes import LOGIT_BLOCK, LOGIT_BLOCK_ELSEWHERE

# Tokens that run through the model side by side when arms of a pair are resumed together: as many as keep the device
# busy, and no more, as each holds memory.
_TOGETHER, _TOGETHER_ELSEWHERE = {"cpu": 4096}, 32_768
_FEWEST_LOGITS = 8
# Shares of the free memory.
_SHARE_OF_ARMS, _SHARE_OF_LOGITS = 0.15, 0.1


@dataclass(frozen=True)
class Blocks:
    """How much is computed at one time.

    Attributes:
        together: Tokens that run through the model side by side, padding included.
        logits: Positions whose logits exist.
    """

    together: int
    logits: int

    @classmethod
    def of(cls, device: torch.device) -> "Blocks":
        """As much as is of use on a device."""
        together = _TOGETHER.get(device.type, _TOGETHER_ELSEWHERE)
        return cls(together, LOGIT_BLOCK.get(device.type, LOGIT_BLOCK_ELSEWHERE))

    def within(self, tokens: int, arm: int, logits: int, free: float) -> "Blocks":
        """No more than fits into a share of the free memory; one arm runs in any case.

        Args:
            tokens: Of the largest batch.
            arm: Bytes that an arm takes while it runs.
            logits: Bytes that a position's logits take.
            free: Bytes that are free.
        """
        arms = max(1, int(_SHARE_OF_ARMS * free / arm))
        rows = max(_FEWEST_LOGITS, int(_SHARE_OF_LOGITS * free / logits))
        return Blocks(min(self.together, max(1, arms * tokens)), min(self.logits, rows))

    def arms_of(self, tokens: int) -> int:
        """Arms of a batch of so many tokens that run side by side."""
        return max(1, self.together // max(1, tokens))
