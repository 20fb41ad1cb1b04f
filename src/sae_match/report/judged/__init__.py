"""What judges said, as tables, pictures and on the page."""
