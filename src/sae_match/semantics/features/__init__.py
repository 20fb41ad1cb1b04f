"""What the features of SAEs fire on, as tables."""
