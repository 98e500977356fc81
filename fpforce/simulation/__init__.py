"""Replicas of a force field in time: Langevin dynamics, temperature rungs that exchange, failed replicas, start frames,
files.
"""
