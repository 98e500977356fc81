"""Training losses: denoising, with forces or without, Fokker-Planck, anchor; and the residual of a trained energy."""
