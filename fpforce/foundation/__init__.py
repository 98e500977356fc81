"""What every other room stands on: errors, checks of arguments, constants, files, locks, signals, progress, seeds."""
