"""Basins of the backbone torsions and the agreement of runs in them."""

import mdtraj
import numpy as np
import pytest

from fpforce.reference.basins import agreement, backbone_torsions, indicator_statistics
from fpforce.reference.peptide import build_peptide
from fpforce.reference.protocol import FORCE_FIELD, load_force_field


def runs(*populations, residue="ALA2", frames=1000):
    """One run per population of `positive`; alpha is held for half of the rest."""
    made = []
    for population in populations:
        frame = np.arange(frames)
        positive = frame < round(population * frames)
        alpha = ~positive & (frame % 2 == 0)
        basins = {"positive": positive, "alpha": alpha, "beta": ~positive & ~alpha}
        made.append({residue: {name: indicator_statistics(held) for name, held in basins.items()}})
    return made


def test_free_energy_of_a_basin_follows_from_its_population():
    figures = indicator_statistics(np.arange(1000) % 10 == 0)
    assert figures["population"] == pytest.approx(0.1)
    assert figures["free_energy_kt"] == pytest.approx(np.log(9.0))
    assert figures["crossings"] == 199  # each of 100 visits begins and ends; the run begins inside one
    assert figures["population_error"] == pytest.approx(0.0, abs=1e-12)


def test_runs_agree_within_0_3_kt_and_the_worst_basin_is_named():
    # ln(0.020/0.980) - ln(0.025/0.975) = 0.228 and to 0.03: 0.416.
    close = agreement(runs(0.020, 0.025))
    assert close["reached"] and close["largest_kt"] == pytest.approx(0.228, abs=1e-3)
    far = agreement(runs(0.020, 0.025, 0.030))
    assert not far["reached"] and far["largest_kt"] == pytest.approx(0.416, abs=1e-3)
    assert far["worst"] == "ALA2 positive"


def test_a_basin_that_one_run_never_saw_is_disagreement():
    record = agreement(runs(0.0, 0.02))
    assert record["reached"] is False and record["largest_kt"] is None and record["worst"] == "ALA2 positive"


def test_a_basin_that_no_run_saw_counts_unless_small_basins_are_left_out_or_proline_forbids_it():
    assert agreement(runs(0.0, 0.0))["reached"] is False
    assert agreement(runs(0.0, 0.0), smallest_population=0.01)["reached"] is True
    assert agreement(runs(0.0, 0.0, residue="PRO2"))["reached"] is True


def test_a_single_run_is_not_judged():
    assert agreement(runs(0.02))["reached"] is None


def test_torsions_of_caps_and_of_charged_ends():
    force_field = load_force_field(FORCE_FIELD)
    capped, uncapped = (
        mdtraj.Topology.from_openmm(build_peptide("AG", force_field, 1, capped=capped)[0]) for capped in (True, False)
    )
    assert all(None not in torsions.values() for torsions in backbone_torsions(capped).values())
    assert list(backbone_torsions(capped)) == ["ALA2", "GLY3"]
    ends = backbone_torsions(uncapped)
    assert ends["ALA1"]["phi"] is None and ends["GLY2"]["psi"] is None
    names = [uncapped.atom(i).name for i in ends["ALA1"]["psi"] + ends["GLY2"]["phi"]]
    assert names == ["N", "CA", "C", "N", "C", "N", "CA", "C"]
