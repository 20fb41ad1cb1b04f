"""The explorer: a page, opened from disk, that follows every feature through the layers."""
