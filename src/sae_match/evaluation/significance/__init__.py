"""What significance says of a validation: shares, and whether significant pairs do more together than the others."""
