"""Training of the bundled language model: a small Gemma 2 from scratch."""
