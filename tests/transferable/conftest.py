"""Small peptides in any conformations: beads N, CA, CB, C, O of L residues, made bond by bond with random torsions."""

from pathlib import Path

import numpy as np
import pytest

from fpforce.molecule.beads import Bead, BeadTable
from fpforce.trajectories.bead_frames import BeadFrames

NAMES = ("N", "CA", "CB", "C", "O")
CHOICE = "name N CA CB C O and not resname ACE NME"
RESIDUES = {"A": "ALA", "V": "VAL", "S": "SER"}


def make_beads(sequence: str) -> BeadTable:
    """Backbone, CB and O of a peptide."""
    beads, bonds = [], []
    for number, letter in enumerate(sequence):
        first = len(beads)
        for name in NAMES:
            mass = {"N": 14.007, "O": 15.999}.get(name, 12.011)
            index = len(beads)
            beads.append(Bead(name, RESIDUES[letter], number, number + 2, "A", name[0], mass, (index,), (name,)))
        bonds += [(first, first + 1), (first + 1, first + 2), (first + 1, first + 3), (first + 3, first + 4)]
        bonds += [(first - 2, first)] if number else []
    return BeadTable(tuple(beads), tuple(sorted(bonds)), CHOICE)


def place(a, b, c, length, angle, torsion):
    """(frames, 3) points at a distance from c, an angle with b-c and a torsion with a-b-c (frames,)."""
    axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    side = np.cross(normal, axis)
    return c + length[:, None] * (
        -np.cos(angle)[:, None] * axis
        + np.sin(angle)[:, None] * (np.cos(torsion)[:, None] * side + np.sin(torsion)[:, None] * normal)
    )


def peptide_positions_nm(sequence: str, frames: int, seed: int) -> np.ndarray:
    """(frames, n, 3): bonds and angles vary a little, phi and psi among two basins, omega about 180 degrees."""
    rng = np.random.default_rng(seed)

    def around(centre, width):
        return rng.normal(centre, width, frames)

    def bond(letter):
        return around({"N": 0.146, "C": 0.153, "n": 0.134, "B": 0.153, "O": 0.123}[letter], 0.003)

    angle = lambda degrees: around(np.radians(degrees), 0.05)  # noqa: E731
    n = np.zeros((frames, 3))
    ca = n + bond("N")[:, None] * [1.0, 0.0, 0.0]
    c = place(n + [0.0, 0.0, 1.0], n, ca, bond("C"), angle(111), around(0.3, 0.1))
    points = []
    for number, letter in enumerate(sequence):
        shift = {"A": 0.0, "V": 0.2, "S": -0.2}[letter]
        cb = place(n, c, ca, bond("B"), angle(110), around(np.radians(-122) * -1.0, 0.05))
        psi = np.where(rng.random(frames) < 0.5, np.radians(140), np.radians(-40)) + shift + around(0, 0.25)
        o = place(n, ca, c, bond("O"), angle(121), psi + np.pi)
        points += [n, ca, cb, c, o]
        if number + 1 < len(sequence):
            after = place(n, ca, c, bond("n"), angle(116), psi)
            ca_after = place(ca, c, after, bond("N"), angle(122), around(np.pi, 0.1))
            phi = np.radians(-80) + shift + around(0, 0.3)
            n, ca, c = after, ca_after, place(c, after, ca_after, bond("C"), angle(111), phi)
    return np.stack(points, axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def choice() -> str:
    """data.beads of the peptides."""
    return CHOICE


@pytest.fixture(scope="session")
def peptide_beads():
    """peptide_beads(sequence) -> its BeadTable."""
    return make_beads


@pytest.fixture(scope="session")
def peptide():
    """peptide(sequence, frames=300, seed=0) -> BeadFrames of letters A, V, S."""

    def make(sequence: str, frames: int = 300, seed: int = 0) -> BeadFrames:
        positions = peptide_positions_nm(sequence, frames, seed + sum(map(ord, sequence)))
        return BeadFrames(positions, make_beads(sequence), (frames,), (sequence,), f"sha of {sequence}{seed}", None)

    return make


@pytest.fixture(scope="session")
def molecule_set(peptide):
    """Three dipeptides and a tripeptide, a MoleculeSet."""
    from fpforce.training.data.molecules import MoleculeSet

    return MoleculeSet.of({name: peptide(name) for name in ("AV", "SA", "VS", "ASV")}, CHOICE)


@pytest.fixture(scope="session")
def peptide_folder(peptide, tmp_path_factory) -> Path:
    """Folder with AV, SA, VS and ASV as NAME.pdb and NAME.xtc, as examples/dipeptides writes them."""
    import mdtraj

    folder = tmp_path_factory.mktemp("peptides")
    for name in ("AV", "SA", "VS", "ASV"):
        frames = peptide(name)
        frames.beads.write_pdb(folder / f"{name}.pdb", frames.positions_nm[0])
        mdtraj.Trajectory(frames.positions_nm, frames.beads.to_mdtraj()).save_xtc(str(folder / f"{name}.xtc"))
    return folder


@pytest.fixture(scope="session")
def transferable_recipe(peptide_folder):
    """transferable_recipe(output, *overrides) -> a Recipe of a small model on the peptides."""
    from fpforce.training.recipe.read import parse_recipe

    def make(output, molecules=(peptide_folder,), **changes):
        content = {
            "data": {"molecules": list(molecules), "beads": CHOICE},
            "temperature_k": 310.0,
            "output": output,
            "model": {"kind": "graph_transformer", "width": 16, "head_width": 8, "layers": 2, "identity": False},
            "optimizer": {"batch_size": 32, "warmup_steps": 5},
            "loss": {"fokker_planck_weight": 1e-4},
            "run": {"max_steps": 40, "log_every_steps": 10, "threads": 1, "accelerator": "cpu"},
        }
        for key, value in changes.items():
            section, name = key.split("__")
            content.setdefault(section, {})[name] = value
        # What is None is left out: it belongs to another kind of model.
        content["model"] = {name: value for name, value in content["model"].items() if value is not None}
        return parse_recipe(content)

    return make


@pytest.fixture(scope="session")
def dipeptide_recipe(peptide_folder, transferable_recipe):
    """As transferable_recipe, of an `internal` model on AV, SA and VS, which differ in their residue types alone."""

    def make(output, **changes):
        molecules = [peptide_folder / f"{name}.pdb" for name in ("AV", "SA", "VS")]
        model = {"model__kind": "internal", "model__width": 16, "model__head_width": None, "model__identity": None}
        return transferable_recipe(output, molecules, **model | changes)

    return make


def with_random_weights(path: Path) -> Path:
    """A checkpoint, its weights replaced by random ones: they depend on everything, as those of a long training do."""
    import torch

    content, generator = torch.load(path, weights_only=True), torch.Generator().manual_seed(5)
    for name, value in content["state_dict"].items():
        if not {"edges", "coordinates"} & set(name.split(".")):
            value += 0.2 * torch.randn(value.shape, generator=generator)
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def transferable_checkpoint(transferable_recipe, tmp_path_factory) -> Path:
    """Checkpoint of a graph transformer after two steps, with random weights."""
    from fpforce.training.train import train

    return with_random_weights(
        train(transferable_recipe(tmp_path_factory.mktemp("transferable"), run__max_steps=2), show_progress=False)
    )


@pytest.fixture(scope="session")
def dipeptide_checkpoint(dipeptide_recipe, tmp_path_factory) -> Path:
    """Checkpoint of an `internal` model of dipeptides after two steps, with random weights."""
    from fpforce.training.train import train

    return with_random_weights(
        train(dipeptide_recipe(tmp_path_factory.mktemp("dipeptides"), run__max_steps=2), show_progress=False)
    )


@pytest.fixture(scope="session", params=["transferable_checkpoint", "dipeptide_checkpoint"])
def each_checkpoint(request) -> Path:
    """The checkpoint of a transferable model of either kind."""
    return request.getfixturevalue(request.param)


def exported(checkpoint: Path) -> Path:
    """model.pt of a transferable checkpoint, beside it."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.modelfile.write import write_transferable

    path = checkpoint.with_name("model.pt")
    write_transferable(read_checkpoint(checkpoint), path, 1e-5, overwrite=True)
    return path


@pytest.fixture(scope="session")
def each_model(each_checkpoint) -> Path:
    """The exported model.pt of `each_checkpoint`."""
    return exported(each_checkpoint)


@pytest.fixture(scope="session")
def transferable_model(transferable_checkpoint) -> Path:
    """The exported model.pt of `transferable_checkpoint`."""
    return exported(transferable_checkpoint)


@pytest.fixture(scope="session")
def dipeptide_model(dipeptide_checkpoint) -> Path:
    """The exported model.pt of `dipeptide_checkpoint`."""
    return exported(dipeptide_checkpoint)


@pytest.fixture(scope="session")
def unseen_pdb(peptide, tmp_path_factory) -> Path:
    """The beads of VA, a sequence that no molecule of the training has."""
    path, frames = tmp_path_factory.mktemp("unseen") / "VA.pdb", peptide("VA")
    frames.beads.write_pdb(path, frames.positions_nm[0])
    return path
