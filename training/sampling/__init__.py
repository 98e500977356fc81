"""Independent samples without simulation: solvers of the reverse process, the sampler, likelihoods, files."""
