"""What the benchmark scripts share: their command line, the small models they time, rows and tables, jobs, figures.

The scripts in studies/, speed/ and physics/ import from here, and never from each other across folders.
"""
