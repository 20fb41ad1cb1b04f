"""Two language models side by side, which read the same text."""
