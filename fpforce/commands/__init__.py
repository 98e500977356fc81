"""Command-line entry points: one thin file per command."""
