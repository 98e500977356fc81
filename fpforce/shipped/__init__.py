"""Trained force fields that come with the package: NAME.pt, its card NAME.md, and what finds both by name."""
