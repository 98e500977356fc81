"""Small force fields with known energies, as real model.pt files run by the real backends."""

import math

import numpy as np
import pytest

KT_300 = 8.314462618e-3 * 300.0


def chain_beads(names_and_masses):
    """A linear molecule, one bead per residue ALA, bonded in order."""
    from fpforce.molecule.beads import Bead, BeadTable

    beads = tuple(
        Bead(
            name=name,
            residue="ALA",
            residue_index=i,
            residue_number=i + 1,
            chain="A",
            element="C",
            mass_da=mass,
            atoms=(i,),
            atom_names=(name,),
        )
        for i, (name, mass) in enumerate(names_and_masses)
    )
    return BeadTable(beads, tuple((i, i + 1) for i in range(len(beads) - 1)), "groups")


def write_model(path, module, beads, positions_nm, *, spread_nm=0.05, **changes):
    """Export `module` as a force field whose training data had bonds of the start frame +- spread_nm."""
    import torch

    from fpforce.training.modelfile.archive import write_archive

    scripted = torch.jit.freeze(torch.jit.script(module.eval()), preserved_attrs=["energies"])
    lengths = np.array([np.linalg.norm(positions_nm[i] - positions_nm[j]) for i, j in beads.bonds])
    metadata = {
        "model": {"kind": "internal", "settings": {"width": 1}},
        "scale_nm": 0.1,
        "temperature_k": 300.0,
        "kt_kj_per_mol": KT_300,
        "t_eval": 1e-5,
        "beads": beads.to_dict(),
        "start_positions_nm": positions_nm.tolist(),
        "bonds_nm": {
            "mean": lengths.tolist(),
            "min": (lengths - spread_nm).tolist(),
            "max": (lengths + spread_nm).tolist(),
        },
        "training": {"steps": 0, "seconds": 0.0, "device": "none"},
        "verification": {},
    }
    write_archive(path, scripted, metadata | changes, {"stiffness": np.array([1.0, 2.0], np.float32)}, "END\n")
    return path


@pytest.fixture(scope="session")
def model_writer():
    """write_model(path, module, beads, positions_nm, **metadata changes) -> path."""
    return write_model


@pytest.fixture(scope="session")
def modules():
    """The TorchScript-able energies below, imported late so that collecting tests needs no torch."""
    import torch

    class Molecule(torch.nn.Module):
        """Chain with U per bond = 1/2 k u^2 - c u^3 + q u^4 + t u, u = d - d0, plus chirality * (bond 1 x bond 2) .
        bond 3.
        """

        def __init__(
            self,
            beads: int,
            stiffness: float,
            length_nm: float,
            cubic: float = 0.0,
            chirality: float = 0.0,
            quartic: float = 0.0,
            tilt: float = 0.0,
        ):
            super().__init__()
            self.beads, self.stiffness, self.length_nm = beads, stiffness, length_nm
            self.cubic, self.chirality, self.quartic, self.tilt = cubic, chirality, quartic, tilt

        @torch.jit.export
        def energies(self, positions: torch.Tensor) -> torch.Tensor:
            frames = positions.reshape(-1, self.beads, 3)
            frames = (frames - frames.mean(dim=1, keepdim=True)).to(torch.float32)
            bonds = frames[:, 1:] - frames[:, :-1]
            stretch = bonds.square().sum(dim=-1).sqrt() - self.length_nm
            energy = (0.5 * self.stiffness * stretch.square() - self.cubic * stretch.pow(3)).sum(dim=1)
            energy = energy + (self.quartic * stretch.pow(4) + self.tilt * stretch).sum(dim=1)
            if self.chirality != 0.0:
                energy = energy + self.chirality * (torch.linalg.cross(bonds[:, 0], bonds[:, 1]) * bonds[:, 2]).sum(
                    dim=-1
                )
            return energy

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return self.energies(positions).sum()

    return Molecule


@pytest.fixture(scope="session")
def dimer(tmp_path_factory, modules):
    """Two beads of 12 and 14 Da, U = 1/2 k (d - d0)^2 with k = 5000 kJ/mol/nm^2, d0 = 0.15 nm."""
    beads = chain_beads([("CA", 12.0), ("N", 14.0)])
    return write_model(
        tmp_path_factory.mktemp("dimer") / "model.pt",
        modules(2, 5000.0, 0.15),
        beads,
        np.array([[0.0, 0.0, 0.0], [0.15, 0.0, 0.0]]),
    )


@pytest.fixture(scope="session")
def chiral_chain(tmp_path_factory, modules):
    """Five beads with stiff bonds and a handed triple product; its start frame is off the bond minimum."""
    beads = chain_beads([("C", 12.0), ("N", 14.0), ("CA", 13.0), ("C", 12.0), ("N", 15.0)])
    positions_nm = np.array(
        [[0.0, 0.0, 0.0], [0.14, 0.02, 0.0], [0.2, 0.15, 0.03], [0.33, 0.17, 0.12], [0.4, 0.3, 0.1]]
    )
    return write_model(
        tmp_path_factory.mktemp("chain") / "model.pt", modules(5, 20000.0, 0.15, chirality=200.0), beads, positions_nm
    )


@pytest.fixture(scope="session")
def fragile_dimer(tmp_path_factory, modules):
    """A bond of 0.4 nm behind a barrier of 3 kT, beyond which the energy falls without limit."""
    stiffness, barrier = 1000.0, 3.0 * KT_300
    cubic = math.sqrt(stiffness**3 / (54.0 * barrier))
    return write_model(
        tmp_path_factory.mktemp("fragile") / "model.pt",
        modules(2, stiffness, 0.4, cubic=cubic),
        chain_beads([("CA", 12.0), ("N", 14.0)]),
        np.array([[0.0, 0.0, 0.0], [0.4, 0.0, 0.0]]),
        spread_nm=0.1,
    )


@pytest.fixture(scope="session")
def two_wells(tmp_path_factory, modules):
    """A bond of 0.3 or 0.5 nm: U = 12 kT (((d - d0) / w)^2 - 1)^2 + 0.6 kT (d - d0) / w, d0 = 0.4 nm, w = 0.1 nm, but
    for a constant.
    """
    barrier, tilt, width_nm = 12.0 * KT_300, 0.6 * KT_300, 0.1
    module = modules(2, -4.0 * barrier / width_nm**2, 0.4, quartic=barrier / width_nm**4, tilt=tilt / width_nm)
    positions_nm = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])
    return write_model(
        tmp_path_factory.mktemp("wells") / "model.pt",
        module,
        chain_beads([("CA", 12.0), ("N", 14.0)]),
        positions_nm,
        spread_nm=0.3,
    )
