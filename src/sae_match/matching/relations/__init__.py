"""What became of features: one to one, split, merged, new or gone; over layers, and over seeds."""
