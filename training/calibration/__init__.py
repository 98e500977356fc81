"""The weights of the basins after a training: by likelihoods, and by rounds of simulation."""
