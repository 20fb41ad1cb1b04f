"""What relations, stitching and stability should reach, where the truth is known."""
