"""Training of the bundled language model and of sparse autoencoders on a model's residual stream."""
