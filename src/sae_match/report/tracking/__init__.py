"""Weights & Biases: the logger, what is logged, and a workspace."""
