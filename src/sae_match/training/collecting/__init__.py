"""From text to activations: crops of text, passes of the model, and what is kept on disk."""
