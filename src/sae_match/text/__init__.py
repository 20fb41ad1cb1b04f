"""Documents, their split into parts that never meet, and the token batches made of them."""
