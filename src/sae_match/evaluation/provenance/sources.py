"""What a feature of a layer may come from."""

from typing import Literal, get_args

Source = Literal["residual", "mlp", "attention"]
"""What a feature of a layer may come from: the residual stream before it, or what its MLP or attention adds."""
SOURCES: tuple[Source, ...] = get_args(Source)
