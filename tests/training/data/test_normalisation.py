"""Lengths of the networks and lengths in nm are converted in one place, at any diffusion time."""

import numpy as np
import pytest
import torch

from fpforce.training.data.normalisation import Normalisation
from fpforce.training.diffusion import diffuse

TIMES = [0.0, 1e-5, 0.02, 0.1]
BETA_TO_T = {0.0: 0.0, 1e-5: 1e-6, 0.02: 5.98e-3, 0.1: 0.1095}  # int_0^t (0.1 + 19.9 t) dt, by hand


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("beads", [1, 5])
def test_what_is_normalised_and_brought_back_is_the_same(beads, time):
    normalisation = Normalisation(0.3, (0.4, -0.2, 0.0) if beads == 1 else (0.0, 0.0, 0.0))
    positions_nm = np.random.default_rng(0).normal(size=(20, beads, 3))
    positions_nm -= positions_nm.mean(1, keepdims=True) if beads > 1 else [0.0, 0.0, 1.0] * positions_nm
    for kind in (np.asarray, torch.from_numpy):
        x = normalisation.from_nm(kind(positions_nm), time)
        np.testing.assert_allclose(normalisation.to_nm(x, time), positions_nm, atol=1e-14)


def test_frames_may_be_anywhere_and_are_centred():
    positions_nm = np.random.default_rng(0).normal(size=(20, 5, 3))
    there = Normalisation(0.3).from_nm(positions_nm + 7.0)
    np.testing.assert_allclose(there, Normalisation(0.3).from_nm(positions_nm), atol=1e-13)


@pytest.mark.parametrize("time", TIMES)
def test_unit_of_length_at_t_undoes_the_shrinking_of_noised_positions(time):
    x0 = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x0 = x0 - x0.mean(1, keepdim=True)
    shrunk = diffuse(x0, torch.full((20,), time, dtype=torch.float64), torch.zeros_like(x0))
    normalisation = Normalisation(0.3)
    torch.testing.assert_close(normalisation.to_nm(shrunk, time), 0.3 * x0)
    assert normalisation.length_nm(time) == pytest.approx(0.3 * np.exp(0.5 * BETA_TO_T[time]), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_origin_is_subtracted_in_the_precision_of_the_positions(dtype):
    normalisation = Normalisation(1.0, (1.0 / 3.0, 0.0, 0.0))
    x = normalisation.from_nm(torch.zeros(1, 1, 3, dtype=dtype))
    assert x.dtype == dtype and x[0, 0, 0].item() == -torch.tensor(1.0 / 3.0, dtype=dtype).item()
