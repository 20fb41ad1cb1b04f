"""What a validation will take, counted before it starts: layer-forwards, heads, SAE products, memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sae_match.evaluation.tally import Pair
from sae_match.model.description import ModelDescription


@dataclass(frozen=True)
class PassPlan:
    """The passes of a validation, for each token.

    A clean pass runs every decoder layer and the head once. Each arm of a pair resumes behind its
    target layer and runs the head again.

    Attributes:
        n_layers: Decoder layers of the model.
        pairs: Source and target layers.
        arms: Arms of each pair that stand in for a residual.
        reruns_target: Whether the target layer itself runs again: it does where SAEs read a place
            inside it.
    """

    n_layers: int
    pairs: Sequence[Pair]
    arms: int
    reruns_target: bool = False

    @property
    def layer_forwards(self) -> int:
        """Runs of a decoder layer."""
        again = sum(self.n_layers - 1 - target + self.reruns_target for _, target in self.pairs)
        return self.n_layers + self.arms * again

    @property
    def heads(self) -> int:
        """Runs of the head."""
        return 1 + self.arms * len(self.pairs)

    def floating_point_operations(self, model: ModelDescription, features: Mapping[int, int], tokens: int) -> float:
        """Multiplications and additions of the matrix products for so many tokens.

        Args:
            model: The model.
            features: Width of the SAE of each layer that has one.
            tokens: Tokens, padding left out.
        """
        layers = self.layer_forwards * model.parameters_per_layer
        heads = self.heads * model.d_in * model.vocabulary
        # Each SAE encodes once; every arm but the dropped layer decodes.
        encoders = sum(features.values()) * model.d_in
        decoders = sum(self.arms * features[target] for _, target in self.pairs) * model.d_in
        return 2.0 * tokens * (layers + heads + encoders + decoders)


def residual_bytes(model: ModelDescription, batch_tokens: int) -> int:
    """Memory for the residual streams of a batch, all layers, and for its logits' largest block."""
    return batch_tokens * model.d_in * (model.n_layers + 2) * model.bytes_per_parameter
