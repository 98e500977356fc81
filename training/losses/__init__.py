"""Training losses: denoising score matching and the Fokker-Planck residual."""
