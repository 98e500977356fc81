"""What is written into model.pt: the physical energy, its verification, its metadata, the archive."""
