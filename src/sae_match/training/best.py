"""The best state of each layer's SAE by its loss on held-out text, and whether a training has gone astray."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sae_match.errors import UserError
from sae_match.training.trainable_sae import TrainableSAE

#: A training is given up where the squared error on held-out text, of inputs whose own is one, is above one
#: and so many times what it has been.
_ASTRAY = 2.0


class BestState:
    """Parameters of one layer's SAE at the step where its held-out loss was least.

    Args:
        layer: For messages.
    """

    def __init__(self, layer: int) -> None:
        self.layer, self.loss, self.step, self.least_error = layer, math.inf, 0, math.inf
        self.parameters: dict[str, Tensor] = {}

    def look(self, sae: TrainableSAE, step: int, squared_error: float, loss: float, *, counts: bool) -> None:
        """Take the present state if it is better than all before.

        Args:
            sae: The SAE as it stands.
            step: Steps that are done.
            squared_error: On held-out text, scaled.
            loss: Squared error and sparsity penalty there.
            counts: Whether states can be compared yet: not as long as the aimed-at L0 falls.

        Raises:
            UserError: If training has gone astray.
        """
        self.least_error = min(self.least_error, squared_error)
        if not squared_error <= max(1.0, _ASTRAY * self.least_error) or math.isinf(squared_error):
            raise UserError(
                f"the training of layer {self.layer} has gone astray: at step {step} its reconstruction of held-out "
                f"text is worse than the mean activation (squared error {squared_error:.3g} of 1); set a lower "
                "training.learning_rate and choose another destination"
            )
        if counts and loss < self.loss:
            self.loss, self.step = loss, step
            self.parameters = {name: value.detach().cpu().clone() for name, value in sae.named_parameters()}

    @torch.no_grad()
    def put_back(self, sae: TrainableSAE) -> None:
        """Bring the SAE to its best state, if one was seen."""
        for name, value in sae.named_parameters():
            if name in self.parameters:
                value.copy_(self.parameters[name])

    def state_dict(self) -> dict[str, Any]:
        """As tensors and plain values."""
        return {"loss": self.loss, "step": self.step, "least_error": self.least_error, "parameters": self.parameters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what another noted."""
        self.loss, self.step, self.least_error = state["loss"], state["step"], state["least_error"]
        self.parameters = dict(state["parameters"])
