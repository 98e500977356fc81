"""Beads and what joins them: the bead table, the mapping from atoms, bonds, chirality, degrees of freedom, periodic
images, PDB text.
"""
