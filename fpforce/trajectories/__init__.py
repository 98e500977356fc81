"""Trajectory files to bead frames, with the forces that go with them and the checks they must pass; and the writers."""
