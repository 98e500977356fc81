"""Folding, contacts and kinetics of a CA chain that hops between a hairpin and an extended state at known rates.

Longer than other files, since all its tests share one chain and its simulation.
"""

import base64
import json
import math
import re

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.analysis import AssessmentSettings, ReplicaFrames, assess
from fpforce.analysis.contacts import contact_map, map_difference
from fpforce.analysis.folding import FoldedStructure, protein_chain
from fpforce.analysis.frame_source import ArrayFrames
from fpforce.analysis.kinetics import count_transitions
from fpforce.analysis.planes import TicaPlane, choose_planes, upper_basin
from fpforce.analysis.tica import MOST_PAIRS
from fpforce.commands.evaluate import main
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.simulation.files import SimulationFiles

SEQUENCE = ("TYR", "TYR", "ASP", "PRO", "GLU", "THR", "GLY", "THR", "TRP", "TYR")
FOLD, UNFOLD = 0.02, 0.01  # probabilities per frame
FOLDED_PART = FOLD / (FOLD + UNFOLD)
NOISE_NM = 0.02
WALL = {"height_kt": 1000.0, "fewest_bonds": 3, "smallest_distances": [{"names": ["CA", "CA"], "distance_nm": 0.45}]}


def chain_table(sequence=SEQUENCE, numbers=None):
    numbers = numbers or range(1, len(sequence) + 1)
    beads = tuple(
        Bead("CA", residue, k, number, "A", "C", 12.011, (k,), ("CA",))
        for k, (residue, number) in enumerate(zip(sequence, numbers, strict=True))
    )
    return BeadTable(beads, tuple((k, k + 1) for k in range(len(beads) - 1)), "ca")


def hairpin(beads=10):
    """CA positions (beads, 3) in nm of two antiparallel strands 0.5 nm apart, with pleats, neighbours about 0.38 nm
    apart.
    """
    half = beads // 2
    up = [(0.35 * k, 0.0, 0.07 * (-1) ** k) for k in range(half)]
    down = [(0.35 * (half - 1 - k), 0.5, 0.07 * (-1) ** k) for k in range(beads - half)]
    return np.array(up + down)


def extended(beads=10):
    """CA positions (beads, 3) in nm of one strand, a little twisted."""
    k = np.arange(beads)
    return np.stack([0.36 * k, 0.06 * np.cos(2.8 * k), 0.06 * np.sin(2.8 * k)], axis=1)


def two_state(rng, frames, folded=None):
    """(positions (frames, 10, 3), state (frames,) True where folded); from equilibrium, or from the state `folded`."""
    state = np.empty(frames, dtype=bool)
    state[0] = rng.random() < FOLDED_PART if folded is None else folded
    for t, hop in enumerate(rng.random(frames - 1)):
        state[t + 1] = hop >= UNFOLD if state[t] else hop < FOLD
    positions = np.where(state[:, None, None], hairpin(), extended())
    return positions + NOISE_NM * rng.normal(size=positions.shape), state


def replicas(rng, times, count, folded):
    return np.stack([two_state(rng, times, folded)[0] for _ in range(count)], axis=1)


@pytest.fixture(scope="module")
def result():
    """Two references at equilibrium, and simulations of the same process started folded and extended."""
    rng = np.random.default_rng(0)
    table = chain_table()
    reference = [two_state(rng, 8000)[0] for _ in range(2)]
    simulations = [
        ReplicaFrames(replicas(rng, 600, 24, folded), name=name, start_nm=start, time_step_ps=2.0)
        for name, folded, start in (("folded", True, hairpin()), ("extended", False, extended()))
    ]
    settings = AssessmentSettings(
        thinnings=2, folded=FoldedStructure.of(table, hairpin()), reference_time_step_ps=10.0, tica_lag_frames=10
    )
    return assess(table, reference, simulations, iid=two_state(rng, 4000)[0][::4], settings=settings)


def test_folded_populations_and_free_energies_are_those_of_the_rates(result):
    plane = result.planes[0]
    assert plane.plane.basin_names == ("unfolded", "folded")
    for name in ("reference", "simulation"):
        population, free_energy = plane.populations[name], plane.free_energies_kt[name]
        assert 0.0 < population.standard_error < 0.05
        assert abs(population.value - FOLDED_PART) < 4.0 * population.standard_error
        assert abs(free_energy.value + math.log(FOLD / UNFOLD)) < 4.0 * free_energy.standard_error
    assert result.converged, result.convergence_reason
    assert [s.starts_in_upper_basin for s in plane.convergence.simulations] == [True, False]


def test_chains_that_stay_as_they_started_are_not_converged():
    rng, table = np.random.default_rng(1), chain_table()
    stuck = [
        ReplicaFrames(start + NOISE_NM * rng.normal(size=(200, 8, 10, 3)), name=name, start_nm=start)
        for name, start in (("folded", hairpin()), ("extended", extended()))
    ]
    settings = AssessmentSettings(thinnings=1, folded=FoldedStructure.of(table, hairpin()))
    found = assess(table, [two_state(rng, 4000)[0]], stuck, settings=settings)
    assert found.status == "not converged" and "folded 1.0000" in found.convergence_reason


def test_tica_separates_the_states_without_knowing_the_folded_structure():
    table = chain_table()
    frames, state = two_state(np.random.default_rng(2), 6000)
    (plane,) = choose_planes(table, [frames])
    agreement = np.mean(upper_basin(plane, plane.coordinates(frames)) == state)
    assert max(agreement, 1.0 - agreement) > 0.995


def test_contact_map_is_the_part_of_the_frames_in_contact():
    chain = protein_chain(chain_table())
    frames = np.stack([hairpin(), hairpin(), extended(), hairpin()])
    distances = np.linalg.norm(hairpin()[:, None] - hairpin(), axis=-1)
    found = contact_map(frames, chain)
    apart = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    # the extended strand has none: 1.05 nm or more at three residues apart
    np.testing.assert_array_equal(found[apart >= 3], 0.75 * (distances < 0.8)[apart >= 3])
    assert np.isnan(found[apart < 3]).all() and 0 < np.nansum(found)
    change = map_difference(found, contact_map(frames[:1], chain))
    assert change.largest == 0.25 and change.root_mean_square < 0.25


def test_the_folded_structure_has_all_contacts_and_no_rmsd_wherever_it_lies():
    folded = FoldedStructure.of(chain_table(), hairpin())
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    moved = hairpin() @ rotation.T + 5.0
    bent = hairpin() * [1.0, 1.0, 3.0] + [0.0, 0.0, 0.1] * np.arange(10)[:, None]  # neither flat nor symmetric
    frames = np.stack([hairpin(), moved, extended()])
    np.testing.assert_array_equal(folded.contact_fraction(frames), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(folded.rmsd_nm(frames[:2]), 0.0, atol=1e-7)
    handed = FoldedStructure.of(chain_table(), bent)
    assert handed.rmsd_nm(bent[None] * [1.0, 1.0, -1.0])[0] > 0.05, "a mirror image is another structure"
    # one bead of the exact superposition moved by 0.1 nm: at most 0.1 / sqrt(10), less what superposition takes
    shifted = hairpin()
    shifted[4, 2] += 0.1
    assert 0.02 < folded.rmsd_nm(shifted[None])[0] <= 0.1 / math.sqrt(10)


def test_markov_model_finds_the_time_scale_of_the_rates(result):
    # eigenvalue 1 - FOLD - UNFOLD per frame; 10 ps a frame in the reference, 2 ps in the simulation
    frames = -1.0 / math.log(1.0 - FOLD - UNFOLD)
    reference, first, second = result.protein.kinetics.time_scales
    assert reference.time_unit == "ps" and reference.lag == 100.0 and reference.connected > 0.9
    for scales in (reference.at_lag, reference.at_twice_the_lag):
        assert scales[0] == pytest.approx(10.0 * frames, rel=0.28)  # 100 each way
    # of each simulation about 50 transitions each way are counted: 4 standard errors are 0.4
    for one in (first, second):
        assert one.at_lag[0] == pytest.approx(2.0 * frames, rel=0.4)


def test_replica_exchange_is_no_dynamics():
    rng, table = np.random.default_rng(2), chain_table()
    reference = [two_state(rng, 2000)[0]]
    simulations = [
        ReplicaFrames(replicas(rng, 300, 8, True), name=name, start_nm=hairpin(), exchanged=name == "exchanged")
        for name in ("plain", "exchanged")
    ]
    kinetics = assess(table, reference, simulations, settings=AssessmentSettings(thinnings=1)).protein.kinetics
    assert (
        [one.name for one in kinetics.time_scales]
        == [one.name for one in kinetics.transitions]
        == ["reference", "plain"]
    )


def test_transitions_are_counted_between_cores_only():
    values = np.array([0.1, 0.5, 0.9, 0.5, 0.9, 0.4, 0.1, 0.6, 0.2, 0.95])
    assert count_transitions(values, 0.2, 0.8) == (2, 1)
    assert count_transitions(values[:1], 0.2, 0.8) == (0, 0)


def test_transition_counts_are_those_of_the_rates(result):
    moves = result.protein.kinetics.transitions[0]
    # 16,000 frames, each direction FOLDED_PART * UNFOLD of them; a renewal process, at most Poisson's spread
    expected = 16_000 * FOLDED_PART * UNFOLD
    assert moves.time == 160_000.0 and abs(moves.up - moves.down) <= 2
    assert abs(moves.up - expected) < 4.0 * math.sqrt(expected)


def test_a_gap_in_the_numbering_ends_the_chain_and_few_beads_have_no_protein_part():
    assert protein_chain(chain_table()) == list(range(10))
    assert protein_chain(chain_table(numbers=[1, 2, 3, 4, 9, 10, 11, 12, 13, 14])) == list(range(4, 10))
    assert protein_chain(chain_table(SEQUENCE[:3])) is None


def test_a_long_chain_takes_the_distances_of_every_kth_residue():
    rng = np.random.default_rng(4)
    steps = rng.normal(size=(200, 100, 3))
    walks = np.cumsum(0.38 * steps / np.linalg.norm(steps, axis=-1, keepdims=True), axis=1)
    plane = TicaPlane.fit(chain_table(("ALA",) * 100), [ArrayFrames(walks[:, None])], 5)
    assert 300 < len(plane.pairs) <= MOST_PAIRS and len(plane.torsions) == 97
    assert np.isfinite(plane.coordinates(walks)).all()


def test_impossible_planes_and_folded_structures_are_refused(tmp_path):
    table, frames = chain_table(), two_state(np.random.default_rng(5), 200)[0]
    with pytest.raises(InputError, match="phi-psi needs the backbone beads"):
        choose_planes(table, [frames], wanted="phi-psi")
    with pytest.raises(InputError, match="'rmsd' is unknown"):
        choose_planes(table, [frames], wanted="rmsd")
    with pytest.raises(InputError, match="leave out --plane phi-psi"):
        choose_planes(table, [frames], wanted="phi-psi", folded=FoldedStructure.of(table, hairpin()))
    with pytest.raises(InputError, match="lag = 0"):
        choose_planes(table, [frames], 0)
    with pytest.raises(InputError, match="not folded"):
        FoldedStructure.of(table, extended())
    with pytest.raises(InputError, match="consecutive CA beads"):
        FoldedStructure.of(chain_table(SEQUENCE[:3]), hairpin()[:3])
    other = chain_table((*SEQUENCE[:4], "ALA", *SEQUENCE[5:]))
    other.write_pdb(tmp_path / "other.pdb", hairpin())
    with pytest.raises(InputError, match="residue 5 is ALA there and GLU here"):
        FoldedStructure.read(tmp_path / "other.pdb", table)
    histidine = {name: chain_table((*SEQUENCE[:4], name, *SEQUENCE[5:])) for name in ("HIS", "HIE")}
    histidine["HIS"].write_pdb(tmp_path / "histidine.pdb", hairpin())
    assert len(FoldedStructure.read(tmp_path / "histidine.pdb", histidine["HIE"]).contacts) == 10, (
        "one amino acid by two names"
    )
    mdtraj.load(str(tmp_path / "histidine.pdb")).save(str(tmp_path / "histidine.gro"))
    assert len(FoldedStructure.read(tmp_path / "histidine.gro", histidine["HIE"]).contacts) == 10
    with pytest.raises(InputError, match="no.pdb"):
        FoldedStructure.read(tmp_path / "no.pdb", table)


def test_the_report_has_the_protein_part(tmp_path, model_writer, modules):
    rng, table = np.random.default_rng(6), chain_table()
    model = fpforce.load(model_writer(tmp_path / "model.pt", modules(10, 20000.0, 0.38), table, extended(), wall=WALL))
    table.write_pdb(tmp_path / "folded.pdb", hairpin())
    for name in ("run1", "run2"):
        np.save(tmp_path / f"{name}.npy", two_state(rng, 2000)[0])
    paths = []
    for name, folded, start in (("folded", True, hairpin()), ("extended", False, extended())):
        paths.append(tmp_path / f"{name}.xtc")
        files = SimulationFiles(paths[-1], table, 8, per_replica=False)
        files.start(start)
        for k, frame in enumerate(replicas(rng, 300, 8, folded)):
            files.append(frame, 0.5 * k, 250 * k)
        record = {
            "replicas": 8,
            "trajectories": [f"{name}.xtc"],
            "saved_times": 300,
            "failed": {},
            "frame_interval_ps": 0.5,
            "steps": 75_000,
            "model_sha256": model.sha256,
            "start": {"positions_nm": start.tolist()},
        }
        if not folded:
            record |= {"ladder_k": [300.0, 450.0], "swaps": {"attempts": [10], "accepted": [4]}}
        files.save({}, record)
        files.close()
    arguments = [
        "--reference",
        tmp_path / "run1.npy",
        "--reference",
        tmp_path / "run2.npy",
        "--tica-lag",
        5,
        "--plane",
        "tica",
    ]
    arguments += [
        "--simulation",
        paths[0],
        "--simulation",
        paths[1],
        "--folded",
        tmp_path / "folded.pdb",
        "-o",
        tmp_path / "report",
    ]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in (model.path, *arguments)])
    assert ended.value.code == 0
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    content = figures["protein"]
    folding = content["folding"]["sets"]["reference"]
    assert folding["population"]["value"] == pytest.approx(FOLDED_PART, abs=0.15)
    assert (
        folding["population"] == figures["planes"][0]["sets"]["reference"]["population"]
        and figures["planes"][0]["tica_lag_frames"] == 5
    )
    assert folding["rmsd_nm_quantiles"]["5%"] < 0.05 < 0.5 < folding["rmsd_nm_quantiles"]["95%"]
    assert np.shape(content["contacts"]["maps"]["simulation"]) == (10, 10)
    wall = figures["simulation"]["wall"]
    late = [fpforce.read_bead_frames(path, table=table).positions_nm.reshape(300, 8, 10, 3)[150:] for path in paths]
    energies = model.wall.energies_kt(np.concatenate(late).reshape(-1, 10, 3))
    assert (
        wall["frames"] == 2400 and wall["acted"] == pytest.approx(np.mean(energies > 0)) and 0.01 < wall["acted"] < 1.0
    )
    assert content["kinetics"]["time_scales"][0]["time_unit"] == "frames"
    assert [one["name"] for one in content["kinetics"]["time_scales"]] == ["reference", "folded"], (
        "an exchange is no dynamics"
    )
    html = (tmp_path / "report" / "report.html").read_text()
    assert "<h2>Folding</h2>" in html and "<h2>Contact maps</h2>" in html and "compared loosely" in html
    assert (
        "<dt>Wall</dt>" in html
        and "coldest of 2 temperatures of a replica exchange, 300 to 450 K; swaps accepted 40 %" in html
    )
    assert "Simulations by replica exchange are left out" in html and figures["speed"][
        "replica_steps"
    ] == 75_000 * 8 * (1 + 2)
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert len(pictures) == 8 and all(b"</svg>" in base64.b64decode(picture) for picture in pictures)
