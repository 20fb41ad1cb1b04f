"""What is claimed about speed, memory and exactness, measured side by side in one run."""
