"""Capture the residual stream around every decoder layer, and resume the model from any of them."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn
from transformers import PreTrainedModel

from sae_match.model.anatomy import Anatomy
from sae_match.model.by_class import sizes_of
from sae_match.model.hooks import hidden, hooks, reading, replacing
from sae_match.model.rows import Arguments, RowsOf, occurrences
from sae_match.model.sizes import LOGIT_BLOCK, LOGIT_BLOCK_ELSEWHERE, ModelSizes
from sae_match.model.speed.losses import losses_of
from sae_match.saes.sites import Site


@dataclass(frozen=True)
class CleanPass:
    """What one unaltered pass of the model leaves.

    Attributes:
        embedded: What the first decoder layer reads.
        residuals: `x_t` of the layers that were kept, the residual stream after each decoder layer
            (the last is taken before the final norm).
        arguments: What each decoder layer was called with, replayed when the model resumes, so that
            a resumed pass is exact.
        values: The value of the site that was asked for, of each layer that was kept; the residuals if
            none was.
        last: The residual stream after the last layer that was run.
    """

    embedded: Float[Tensor, "batch seq d"]
    residuals: Mapping[int, Float[Tensor, "batch seq d"]]
    arguments: tuple[Arguments, ...]
    values: Mapping[int, Float[Tensor, "batch seq d_in"]]
    last: Float[Tensor, "batch seq d"]

    def before(self, layer: int) -> Float[Tensor, "batch seq d"]:
        """The residual stream that a decoder layer reads."""
        return self.residuals[layer - 1] if layer else self.embedded


class _EnoughError(Exception):
    """The last layer that is needed has been run."""


class ResidualStream(nn.Module):
    """A frozen causal language model with its decoder layers laid open.

    Args:
        model: A model as `transformers` loads it; see `Anatomy.of` for which.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.anatomy = Anatomy.of(model)
        self.layers, self.final_norm = self.anatomy.layers, self.anatomy.final_norm
        self.head, self.softcap = self.anatomy.head, self.anatomy.softcap
        #: Whether stand-ins that follow one another are resumed one after another, because what this model's layers
        #: are called with cannot be repeated with the batch (`exactness` finds out).
        self.one_at_a_time = False

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, `L`."""
        return len(self.layers)

    @property
    def d_in(self) -> int:
        """Width of the residual stream, `d`."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def attention(self) -> str:
        """What computes its attention, such as `eager` or `sdpa`: their numbers differ by rounding."""
        return str(getattr(self.model.config.get_text_config(), "_attn_implementation", None))

    @property
    def vocabulary(self) -> int:
        """Token ids that the model knows: rows of its embedding matrix."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def sizes(self) -> ModelSizes:
        """What it consists of."""
        return sizes_of(self.model)

    @property
    def is_sharded(self) -> bool:
        """Whether the model's weights lie on several devices, each where it is to stay."""
        return len(set(getattr(self.model, "hf_device_map", {}).values())) > 1

    def width(self, site: Site) -> int:
        """Entries of a site's value."""
        return self.anatomy.width(site, self.d_in)

    @torch.no_grad()
    def as_read(self, site: Site, layer: int, value: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """A layer's value of a site, or what stands in for it, as the next block reads it: behind its norm, float32.

        Raises:
            ValueError: If no norm reads it (`Anatomy.reading_norm`).
        """
        norm = self.anatomy.reading_norm(site, layer)
        if norm is None:
            raise ValueError(f"no norm reads the {site} of layer {layer}")
        weights = next(norm.parameters(), None)
        device = value.device if weights is None else weights.device
        read: Tensor = norm(value.to(device, self.model.dtype))
        return read.to(value.device).float()

    def train(self, mode: bool = True) -> "ResidualStream":
        """Stay in evaluation mode whatever a trainer asks for: this model is never trained."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ResidualStream":
        """Weights that lie on several devices stay there when a trainer moves everything to one."""
        if not self.is_sharded:
            nn.Module._apply(self, fn, recurse)
        return self

    @torch.no_grad()
    def capture(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
        site: Site = "residual",
        keep: Collection[int] | None = None,
        *,
        whole: bool = True,
    ) -> CleanPass:
        """Run the decoder once and keep residual streams, and layers' values of a site.

        Args:
            input_ids: Token ids.
            attention_mask: True on tokens, false on padding.
            site: Which value.
            keep: Layers whose value is kept, and what is needed to resume from it; all by default.
            whole: Whether all layers are run; otherwise none behind the last that is kept, and the model
                cannot be resumed.
        """
        embedded: list[Tensor] = []
        residuals: dict[int, Tensor] = {}
        arguments: list[Arguments] = []
        values: dict[int, Tensor] = {}
        here = input_ids.device
        kept = range(self.n_layers) if keep is None else keep
        end = self.n_layers - 1 if whole else max(kept)
        held = _residuals_for(site, kept) | {end}

        def look(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            named = dict(kwargs)
            before = named.pop("hidden_states", None)
            before, positional = (args[0], args[1:]) if before is None else (before, args)
            if layer is self.layers[0]:
                embedded.append(before.to(here))
            if len(arguments) in held:
                residuals[len(arguments)] = hidden(output).to(here)
            arguments.append(Arguments(positional, named))
            if len(arguments) > end and not whole:
                raise _EnoughError

        with hooks() as handles, suppress(_EnoughError):
            if site not in ("residual", "residual_before"):
                handles += [reading(self.anatomy.place(site, layer), values, layer, here) for layer in kept]
            handles += [layer.register_forward_hook(look, with_kwargs=True) for layer in self.layers]
            mask = None if attention_mask is None else attention_mask.long()
            self.anatomy.decoder(input_ids=input_ids, attention_mask=mask, use_cache=False)
        if site == "residual":
            values = {layer: residuals[layer] for layer in kept}
        elif site == "residual_before":
            values = {layer: residuals[layer - 1] if layer else embedded[0] for layer in kept}
        return CleanPass(embedded[0], residuals, tuple(arguments), values, residuals[end])

    @torch.no_grad()
    def resume(
        self,
        clean: CleanPass,
        layer: int,
        value: Float[Tensor, "rows seq d_in"],
        site: Site = "residual",
        *,
        rows: Int64[Tensor, " rows"] | None = None,
        until: int | None = None,
    ) -> Float[Tensor, "rows seq d"]:
        """Run the rest of the model on a stand-in for a layer's value; returns the last residual.

        Args:
            clean: The clean pass over the same tokens.
            layer: The layer whose value is replaced, `0 … L - 1`.
            value: What stands in for it, in the model's dtype; several stand-ins for the whole batch may
                follow one another, and run side by side.
            site: Which of the layer's values that is.
            rows: Which row of the batch each row of `value` stands in for; all of them in order by default, and again
                for each further stand-in.
            until: The last layer that is run, whose residual is returned; the model's last by default.
        """
        batch, end = len(clean.last), self.n_layers - 1 if until is None else until
        if len(clean.arguments) <= end:
            raise ValueError("a pass that was not whole cannot be resumed")
        if self.one_at_a_time and rows is not None:
            return self._resume_whole(clean, layer, value, site, rows, end)
        if self.one_at_a_time and len(value) > batch:
            return torch.cat([self.resume(clean, layer, one, site, until=end) for one in value.split(batch)])
        repeat = RowsOf.repeated(batch, len(value) // batch, value.device) if rows is None else RowsOf(batch, rows)
        x = value
        if site == "residual_before":
            x = self._run(repeat.of(clean.arguments[layer]), layer, value)
        elif site != "residual":
            with hooks() as handles:
                handles.append(replacing(self.anatomy.place(site, layer), value))
                x = self._run(repeat.of(clean.arguments[layer]), layer, repeat(clean.before(layer)))
        for following in range(layer + 1, end + 1):
            x = self._run(repeat.of(clean.arguments[following]), following, x)
        return x.to(value.device)

    @torch.no_grad()
    def next_token_losses(
        self,
        last_residual: Float[Tensor, "batch seq d"],
        input_ids: Int[Tensor, "batch seq"],
        places: Int64[Tensor, " wanted"] | None = None,
        block: int | None = None,
    ) -> Float[Tensor, "batch seq-1"]:
        """Cross-entropy of each next token in nats, float32.

        The logits exist for a block of positions at a time, never for a whole batch.

        Args:
            last_residual: Residual stream after the last layer.
            input_ids: Token ids.
            places: Predictions that are made, as numbers in `input_ids[:, 1:]` read row by row; the loss of all
                others is zero. All by default.
            block: Positions whose logits exist at one time; by default as many as a device's kind is quick with.
        """
        rows, seq = input_ids.shape
        if places is None:
            places = torch.arange(rows * (seq - 1), device=input_ids.device)
        row, position = places // (seq - 1), places % (seq - 1)
        states, targets = last_residual[row, position], input_ids[row, position + 1]
        block = block or LOGIT_BLOCK.get(states.device.type, LOGIT_BLOCK_ELSEWHERE)
        losses = [
            losses_of(self.head(self.final_norm(some)).to(following.device), following, self.softcap)
            for some, following in zip(states.split(block), targets.split(block), strict=True)
        ]
        spread = torch.zeros(rows * (seq - 1), dtype=torch.float32, device=places.device)
        return spread.index_copy_(0, places, torch.cat(losses)).view(rows, seq - 1)

    def logits(self, last_residual: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch vocab"]:
        """Final norm, head and, where the model has one, the soft cap."""
        logits: Tensor = self.head(self.final_norm(last_residual))
        if self.softcap is not None:
            logits = logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def _resume_whole(
        self,
        clean: CleanPass,
        layer: int,
        value: Float[Tensor, "rows seq d_in"],
        site: Site,
        rows: Int64[Tensor, " rows"],
        end: int,
    ) -> Float[Tensor, "rows seq d"]:
        """Resume some rows as parts of whole batches, one after another; what fills those up is not looked at."""
        number, resumed = occurrences(rows), value.new_empty(*value.shape[:2], self.d_in)
        for time in range(int(number.max()) + 1):
            those = (number == time).nonzero()[:, 0]
            whole = value[:1].repeat(len(clean.last), 1, 1)
            whole[rows[those]] = value[those]
            resumed[those] = self.resume(clean, layer, whole, site, until=end)[rows[those]]
        return resumed

    def _run(self, arguments: Arguments, layer: int, x: Float[Tensor, "rows seq d"]) -> Float[Tensor, "rows seq d"]:
        return hidden(self.layers[layer](x, *arguments.positional, **arguments.named))


def _residuals_for(site: Site, layers: Collection[int]) -> set[int]:
    """Residual streams that hold a site's values of some layers, or that their layers read."""
    return {layer if site == "residual" else layer - 1 for layer in layers}
