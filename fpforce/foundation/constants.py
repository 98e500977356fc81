"""Constants of nature in OpenMM's units."""

BOLTZMANN_KJ_PER_MOL_K = 0.00831446261815324  # the gas constant (CODATA 2018)
