"""Reference data: from a sequence or a PDB to equilibrium trajectories of all atoms, made by OpenMM."""
