"""Independent samples without simulation: solvers of the reverse process, likelihoods, files."""
