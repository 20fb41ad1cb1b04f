"""What a user sees: tables, figures and Weights & Biases."""
