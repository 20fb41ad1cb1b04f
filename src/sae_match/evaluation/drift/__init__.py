"""What became of features after a language model, or its SAEs, were tuned: how often they fire, where they point."""
