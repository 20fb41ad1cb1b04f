"""What features mean: where they fire, in text."""
