"""Damaged topology text is read or refused in one line, whatever the damage: no traceback, no hang."""

import random
import tempfile
import warnings
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpforce.foundation.errors import InputError
from fpforce.molecule.cif_writer import write_cif
from fpforce.molecule.mapping import list_beads, map_beads
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.topology_files import read_topology_file

NAMES = ("N", "CA", "C", "O", "CB")


def strand(residues=4):
    """N, CA, C, O, CB of residues, with a water and an ion, as an mdtraj.Trajectory."""
    topology, places = mdtraj.Topology(), []
    chain = topology.add_chain("A")
    for number in range(residues):
        residue = topology.add_residue("ALA", chain, resSeq=number + 1)
        for k, name in enumerate(NAMES):
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
            places.append([0.38 * number + 0.13 * k, 0.1 * (k % 2), 0.15 * (k > 2)])
    for name, atoms in (("HOH", ("O", "H1", "H2")), ("NA", ("NA",))):
        residue = topology.add_residue(name, topology.add_chain("W"), resSeq=90)
        for atom in atoms:
            topology.add_atom(atom, mdtraj.element.get_by_symbol("Na" if atom == "NA" else atom[0]), residue)
            places.append([3.0, 3.0 + 0.1 * len(places), 3.0])
    return mdtraj.Trajectory(np.array(places)[None], topology)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    frame = strand()
    for name in ("given.pdb", "given.gro"):
        frame.save(str(folder / name))
    table = list_beads([{"name": "CA", "residue": "ALA"}] * 5)
    write_cif(table, folder / "given.cif", np.cumsum(np.full((5, 3), 0.2), axis=0))
    found = {path.suffix: path.read_text() for path in folder.iterdir()}
    links = "SSBOND   1 CYS A    2    CYS A    4\nLINK         CB  ALA A   1                 CB  ALA A   3\n"
    found[".pdb"] = links + found[".pdb"].replace("END\n", "CONECT    1   11\nCONECT    3\nEND\n")
    return found


def damaged(text, seed, blows):
    """The text after some blows: letters changed, lines lost, doubled, cut or exchanged, columns shifted, an end."""
    rng = random.Random(seed)
    lines = text.splitlines()
    for _ in range(blows):
        if not lines:
            break
        i = rng.randrange(len(lines))
        line = lines[i]
        at = rng.randrange(len(line) + 1)
        kind = rng.randrange(9)
        if kind == 0:
            lines[i] = line[:at] + rng.choice("0 9-.xX*'\"\t\x00é#;") + line[at + 1 :]
        elif kind == 1:
            del lines[i]
        elif kind == 2:
            lines.insert(i, line)
        elif kind == 3:
            lines[i] = line[:at]
        elif kind == 4:
            j = rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], line
        elif kind == 5:
            lines[i] = " " * rng.randrange(3) + line
        elif kind == 6:
            lines[i] = line[:at] + line[at + rng.randrange(4) :]
        elif kind == 7:
            lines = lines[: i + 1]
        else:
            lines[i] = (
                line[:at] + rng.choice(["nan", "1e99", "-1", "99999999", "****", "END", "TER", "MODEL 2"]) + line[at:]
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("suffix", [".pdb", ".gro", ".cif"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["ca", "backbone", "heavy", "all", "name CA CB"]))
def test_damaged_topology_is_read_or_refused(texts, suffix, seed, blows, beads):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, f"given{suffix}")
        path.write_text(damaged(texts[suffix], seed, blows))
        try:
            topology = read_topology_file(path).topology
        except InputError as error:
            assert "\n" not in str(error)
        else:
            try:
                assert len(map_beads(topology, beads)) >= 2
            except InputError as error:
                assert "\n" not in str(error)
        try:
            frames = read_bead_frames(path, beads=beads)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1500
        else:
            assert np.isfinite(frames.positions_nm).all()
