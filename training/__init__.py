"""From bead frames to model.pt: recipe, diffusion process, energy models, losses, training loop, export."""
