"""Sums in float64 that add up over batches and processes, and the numbers that follow from them."""
