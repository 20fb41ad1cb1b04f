"""What stands in for a residual, how well it does, and the LightningModule that measures it."""
