"""Bead frames to a training set: normalised frames of one molecule or many, and the scores of their forces."""
