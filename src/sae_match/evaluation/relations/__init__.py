"""What relatives do on text: containment, coverage, and whether a wider dictionary's features are new."""
