"""What every other room stands on: errors, checks of arguments, constants, atomic files, locks, signals, progress,
seeds.
"""
