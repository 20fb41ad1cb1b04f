"""What is compared between two language models: arms, dictionaries turned into the other's coordinates, drift."""
