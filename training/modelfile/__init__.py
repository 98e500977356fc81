"""What is written into model.pt: the physical energy, its residual, the archive."""
