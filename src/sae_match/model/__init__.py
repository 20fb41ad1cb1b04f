"""The language model, seen as a residual stream that can be captured and replaced."""
