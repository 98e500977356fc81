"""`chain`, the model of chains of any length: rows of a batch, one chain, one noise level, what its pairs add up to,
and what is refused.
"""

import mdtraj
import numpy as np
import openmm
import pytest
import torch

from fpforce import SimulationSettings, load, make_system, read_simulation, simulate
from fpforce.forcefield.transferable.chains import separation_classes
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.reference.bead_make import BeadSettings, make_bead_reference
from fpforce.reference.models import build_model
from fpforce.shipped.chains import disordered
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.diffusion import alpha
from fpforce.training.export import export
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.train import train

T_EVAL = 1e-3
SEQUENCES = {"long": "GEKGSYKRSAFEWG", "middle": "SGEEKYAGRK", "short": "KAGEYSR"}


def recipe_of(folder, output, **model):
    return parse_recipe(
        {
            "data": {"molecules": [folder], "beads": "ca"},
            "temperature_k": 298.15,
            "output": output,
            "model": {"kind": "chain", "width": 16, "layers": 2, "window": 5} | model,
            "diffusion": {"t_eval": T_EVAL},
            "optimizer": {"batch_size": 64, "warmup_steps": 20},
            "run": {"max_steps": 500, "threads": 1, "accelerator": "cpu", "compile": False},
        }
    )


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Folder of three disordered chains, 400 frames each, with their exact forces; `unseen` beside them."""
    folder = tmp_path_factory.mktemp("chains")
    for name, sequence in SEQUENCES.items() | {("unseen", "EGAKWYRSGKE")}:
        work = folder / f"{name}_work"
        settings = BeadSettings(ns=2.0, interval_ps=5.0, discard_ps=50.0, runs=1, seed=len(sequence))
        make_bead_reference(build_model("disordered", sequence), work, settings, show_progress=False)
        place = folder / "unseen" if name == "unseen" else folder / "known"
        place.mkdir(exist_ok=True)
        for source, target in (("train.xtc", f"{name}.xtc"), ("train_forces.npz", f"{name}_forces.npz")):
            (work / source).rename(place / target)
        next(work.glob("*.pdb")).rename(place / f"{name}.pdb")
    return folder


@pytest.fixture(scope="module")
def molecules(chains):
    """The three as a MoleculeSet."""
    from fpforce.training.data.read import read_training_set

    recipe = recipe_of(chains / "known", "unused")
    found = read_training_set(
        recipe.data, temperature_k=298.15, batch_size=64, internal=False, earlier=None, frames_folder=None
    )
    assert isinstance(found, MoleculeSet)
    return found


@pytest.fixture(scope="module", params=[{}, {"chiral": False}], ids=["chiral", "no hand"])
def module(request, molecules):
    """In training, in float64 with random weights."""
    recipe = recipe_of("unused", "unused", **request.param)
    module = ExpertTraining(recipe, plan_experts(recipe), molecules)
    module.begin(0)
    generator, network = torch.Generator().manual_seed(0), module.expert.network
    even = network.windows.hidden[0].weight != 0.0  # what a mirror changes has no weights where there is no hand
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        network.windows.hidden[0].weight *= even
    return module.double()


@pytest.fixture(scope="module")
def checkpoint(chains, tmp_path_factory):
    """Of a short training on the three."""
    return train(recipe_of(chains / "known", tmp_path_factory.mktemp("chain")), show_progress=False)


def rows_and_parts(module, molecules):
    """The batch of five frames of each chain, padded: rows, positions, times, and the part of it that each is."""
    batches = module._batches.value
    chosen = torch.cat([end - count + torch.arange(5) for end, count in zip(batches.ends, batches.counts, strict=True)])
    x = molecules.frames[chosen].double()
    t = torch.linspace(1e-4, 0.9, len(x), dtype=torch.float64)
    parts = [slice(5 * k, 5 * k + 5) for k in range(len(molecules.molecules))]
    return batches.rows_of(chosen), x, t, zip(molecules.molecules.values(), parts, strict=True)


def test_rows_of_a_batch_have_the_energies_of_their_chains(module, molecules):
    rows, x, t, parts = rows_and_parts(module, molecules)
    together = module.expert.of(rows)
    energy, score = together(x, t), together.score(x, t)
    for one, part in parts:
        alone, beads = module.expert.bind(one.beads), len(one.beads)
        torch.testing.assert_close(energy[part], alone(x[part, :beads], t[part]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(score[part, :beads], alone.score(x[part, :beads], t[part]), rtol=1e-8, atol=1e-8)
        assert (score[part, beads:] == 0).all()


def test_chain_at_one_time_is_an_internal_model(module, molecules):
    _, x, _, parts = rows_and_parts(module, molecules)
    time = torch.full((1,), 0.01, dtype=torch.float64)
    for one, part in parts:
        own, settled = (module.expert.bind(one.beads).network for _ in range(2))
        settled = settled.settled(0.01)
        here = x[part, : len(one.beads)]
        assert settled.pair_series.weights.abs().max() > 0.1
        torch.testing.assert_close(settled(here, time), own(here, time), rtol=1e-9, atol=1e-9)


def test_mirror_images_differ_only_where_chains_have_a_hand(module, molecules):
    rows, x, t, _ = rows_and_parts(module, molecules)
    energy = module.expert.of(rows)
    apart = (energy(x, t) - energy(x * x.new_tensor([-1.0, 1.0, 1.0]), t)).abs()
    assert (apart > 1e-6).all() if module.expert.network.chiral else (apart < 1e-10).all()


def test_pairs_add_up_as_their_equation_says(module, molecules):
    # Pair by pair and order by order, by the angle itself, from the network's weights.
    network, one, t = module.expert.network, molecules.molecules["long"], 0.05
    x = one.frames[0].double().numpy()
    bound = module.expert.bind(one.beads).network
    time = torch.tensor([t], dtype=torch.float64)
    found = bound(torch.from_numpy(x)[None], time) - bound.local(torch.from_numpy(x)[None], time)
    pairs = network.pairs
    weights = pairs.head(network.noise(time)).view(pairs.shape).detach().numpy()
    types = [network.knowledge.vocabulary.residues.index(bead.residue) for bead in one.beads.beads]
    ends = [1] + [0] * (len(types) - 2) + [2]
    embedded = np.array(
        [
            (network.residues.weight[a] + network.ends.weight[e] + network.names.weight[0]).detach().numpy()
            for a, e in zip(types, ends, strict=True)
        ]
    )
    added, multiplied = np.split(embedded @ pairs.of_beads.weight.detach().numpy().T, 2, axis=1)
    signal = alpha(time).item()
    width = (signal**2 * pairs.width.item() ** 2 + 2.0 * (1.0 - signal**2)) ** 0.5
    expected = 0.0
    for i in range(len(x)):
        for j in range(i + network.window, len(x)):
            d = (np.square(x[i] - x[j]).sum() + network.coordinates.blurs[0].item() ** 2) ** 0.5
            z = np.exp(2j * np.arctan((d - signal * pairs.centre.item()) / width)) / (1.0 + pairs.delta) ** 0.5
            waves = [z**n for n in range(1, pairs.orders + 1)]
            of_class = separation_classes(np.array(j - i), network.window)
            amounts = added[i] + added[j] + multiplied[i] * multiplied[j]
            amounts = amounts + pairs.separations.weight[int(of_class)].detach().numpy()
            expected += amounts @ (weights[:, 0] @ np.real(waves) + weights[:, 1] @ np.imag(waves))
    assert found.item() == pytest.approx(signal**2 * expected, rel=1e-9)


def test_every_backend_has_the_energy_of_a_bound_chain(checkpoint, chains, tmp_path):
    export(checkpoint, tmp_path / "model.pt")
    field = load(tmp_path / "model.pt")
    bound = field.bind(chains / "unseen" / "unseen.pdb")
    assert (field.kind, field.metadata["format_version"]) == ("chain", 11)
    assert (bound.kind, bound.metadata["format_version"]) == ("internal", 10)
    frames = mdtraj.load(str(chains / "unseen" / "unseen.xtc"), top=str(chains / "unseen" / "unseen.pdb")).xyz[::40]
    of = {name: energies_and_forces(bound, frames, name) for name in ("native", "torchforce", "python")}
    for name in ("torchforce", "python"):
        np.testing.assert_allclose(of[name][0], of["native"][0], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(of[name][1], of["native"][1], rtol=1e-4, atol=0.05)


def test_forces_of_an_unseen_sequence_come_nearer_to_the_exact_ones(checkpoint, chains, tmp_path):
    # CALVADOS 2, whose energy is exact. The prior knows bonds and angles; a short training adds to that.
    topology = chains / "unseen" / "unseen.pdb"
    frames = mdtraj.load(str(topology.with_suffix(".xtc")), top=str(topology)).xyz[::10].astype(np.float64)
    exact = np.load(topology.with_name("unseen_forces.npz"))["forces"][::10]

    def error(trained: bool) -> float:
        shared = read_checkpoint(checkpoint).bind(topology)
        model = shared.calibrated_model(0, T_EVAL).double()
        if not trained:
            model.network = Nothing()
        scale = shared.record.scale_nm
        x = torch.from_numpy((frames - frames.mean(1, keepdims=True)) / scale)
        score = model.score(x, torch.tensor([T_EVAL], dtype=torch.float64)).numpy()
        off = across_bonds(BOLTZMANN_KJ_PER_MOL_K * 298.15 * score / scale - exact, frames)
        return float(np.sqrt(np.square(off).mean() / np.square(across_bonds(exact, frames)).mean()))

    assert error(trained=True) < 0.98 * error(trained=False)


def across_bonds(forces, frames):
    """What is left of forces (frames, n, 3) without their parts along any bond, which are far larger than all else."""
    bonds = np.diff(frames, axis=1) / np.linalg.norm(np.diff(frames, axis=1), axis=2, keepdims=True)
    count = bonds.shape[1]
    stretches = np.zeros((len(frames), count + 1, 3, count))
    numbers = np.arange(count)
    stretches[:, numbers, :, numbers] = -bonds.swapaxes(0, 1)
    stretches[:, numbers + 1, :, numbers] = bonds.swapaxes(0, 1)
    basis = np.linalg.qr(stretches.reshape(len(frames), -1, count))[0]
    flat = forces.reshape(len(frames), -1)
    return flat - np.einsum("fdk,fk->fd", basis, np.einsum("fdk,fd->fk", basis, flat))


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return 0.0 * x.sum((1, 2))


def test_bound_chain_is_simulated_and_calibrated_on_its_own(checkpoint, chains, tmp_path):
    topology = chains / "unseen" / "unseen.pdb"
    bound = read_checkpoint(checkpoint).bind(topology)
    from fpforce.training.sample import SampleSettings, sample

    sample(bound, tmp_path / "iid.xtc", SampleSettings(samples=20))
    assert np.isfinite(mdtraj.load(str(tmp_path / "iid.xtc"), top=str(tmp_path / "iid.xtc.pdb")).xyz).all()
    export(checkpoint, tmp_path / "model.pt")
    field = load(tmp_path / "model.pt").bind(disordered("EGAKWYRSGKE").frame(0))
    simulate(
        field,
        tmp_path / "simulated.xtc",
        SimulationSettings(steps=200, timestep_fs=10, replicas=2, report_interval_ps=0.1),
    )
    frames = read_simulation(tmp_path / "simulated.xtc", field.beads).positions_nm
    assert np.isfinite(frames).all() and np.linalg.norm(np.diff(frames, axis=-2), axis=-1).max() < 0.6


def test_what_a_chain_cannot_be_is_refused(checkpoint, chains, tmp_path):
    field = tmp_path / "model.pt"
    export(checkpoint, field)
    for sequence, said in (("GEKGS", r"has 5 beads, and model.window = 5 \(kind chain\) is for chains of more"),):
        with pytest.raises(InputError, match=said):
            load(field).bind(disordered(sequence).frame(0))
    with pytest.raises(InputError, match="residue HIS7 is of a type that the model was not trained with"):
        load(field).bind(disordered("GEKGSYHG").frame(0))
    with pytest.raises(InputError, match="LYS1 .* has 7 beads, .* is for chains of more"):
        train(recipe_of(chains / "known", tmp_path / "out", window=7), show_progress=False)
    with pytest.raises(InputError, match="model.kind = chain is for many molecules"):
        parse_recipe(
            {
                "data": {"trajectories": ["unread.xtc"]},
                "temperature_k": 300,
                "output": "unused",
                "model": {"kind": "chain"},
            }
        )


def energies_and_forces(field, frames, backend):
    """(frames,) kJ/mol and (frames, n, 3) kJ/mol/nm."""
    context = openmm.Context(
        make_system(field, backend=backend),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    states = []
    for frame in frames:
        context.setPositions(frame.astype(np.float64))
        states.append(context.getState(energy=True, forces=True))
    return (
        np.array([state.getPotentialEnergy()._value for state in states]),
        np.array([state.getForces(asNumpy=True)._value for state in states]),
    )
