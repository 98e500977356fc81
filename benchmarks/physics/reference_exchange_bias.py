"""What it costs a replica exchange to scale the lagging velocities of LangevinMiddleIntegrator instead of the whole
step's.

    python benchmarks/physics/reference_exchange_bias.py

On a ladder of three rungs, swaps offered after so many steps of 4 fs, velocities scaled as the program does
(fpforce.simulation.exchange.scaled_velocities) and as they are kept. Two systems. Harmonic wells, a soft and a stiff
one, whose <k x^2> is kT exactly: the integrator's five operations in numpy, for many ladders at once, with the
program's criterion and scaling. Alanine dipeptide in implicit solvent with the default protocol: the program's
fpforce.reference.replica_exchange, with the lagging scaling put in its place, against Langevin dynamics. For the wells
it also says by how much a single swap shifts <x^2> when the next frame is saved, which follows from the second moments
without any sampling.

One thread, about three minutes. Writes docs/results/reference_exchange_bias.json and .md.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.reference.protocol import Protocol, load_force_field
from fpforce.reference.replica_exchange import ReplicaExchange
from fpforce.simulation.exchange import acceptance, half_kicks, scaled_velocities

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware

TEMPERATURES_K = (300.0, 357.0, 424.0)  # the lowest of examples/alanine_dipeptide/generate.py
TIMESTEP_FS, FRICTION_PER_PS = 4.0, 1.0
STEPS_BETWEEN_OFFERS = {"wells": (2, 10, 125, 500), "alanine dipeptide": (10, 500)}
ONE_SWAP = ((4.0, 0.5), (4.0, 1.0), (4.0, 2.0), (2.0, 2.0))  # time step fs and swap to frame, ps
COMMITTED = {"the dipeptides": (4.0, 1.0), "alanine dipeptide": (2.0, 2.0)}  # made with the lagging scaling
SOFT_PER_CM = 500.0  # below it are torsions and the bends that the beads see
BLOCKS = 20
MASS_DA, LADDERS = 12.0, 2000
WAVENUMBERS_PER_CM = {"soft": 200.0, "stiff": 1700.0}  # a slow bend; C=O
RADIANS_PER_PS = 2.0 * np.pi * 0.0299792458  # of a wave number of 1/cm


class LaggingExchange(ReplicaExchange):
    """Scales the velocities as the integrator keeps them."""

    def _scaled(self, state, factor):
        return factor * state.getVelocities(asNumpy=True)._value


EXCHANGES = {"whole step": ReplicaExchange, "lagging": LaggingExchange}
SCALINGS = {"whole step": scaled_velocities, "lagging": lambda velocities, kicks, factor: factor * velocities}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells-ps", type=float, default=30.0, help=f"length of each of {LADDERS} ladders of wells")
    parser.add_argument("--alanine-ns", type=float, default=0.4, help="length of each run of alanine dipeptide")
    chosen = options.parse(parser, wells_ns=0.02, alanine_ns=0.006)
    rows = []

    def add(system: str, steps: int, swap: str, found: dict) -> None:
        rows.append({"system": system, "steps": steps, "swap": swap} | found)
        print(rows[-1], flush=True)

    for steps in STEPS_BETWEEN_OFFERS["wells"]:
        for swap, scaled in SCALINGS.items():
            add("wells", steps, swap, wells(scaled, steps, chosen.wells_ps))
    for steps in STEPS_BETWEEN_OFFERS["alanine dipeptide"]:
        for swap, kind in EXCHANGES.items():
            add("alanine dipeptide", steps, swap, alanine(kind, steps, chosen.alanine_ns))
    result = {
        "hardware": describe_hardware(),
        "temperatures_k": TEMPERATURES_K,
        "timestep_fs": TIMESTEP_FS,
        "friction_per_ps": FRICTION_PER_PS,
        "length": {
            "wells": f"{LADDERS} ladders of {chosen.wells_ps:g} ps",
            "alanine dipeptide": f"{chosen.alanine_ns:g} ns",
        },
        "rows": rows,
        "alanine dipeptide without swaps": alanine(ReplicaExchange, 50, chosen.alanine_ns, TEMPERATURES_K[:1]),
        "shift_by_one_swap": [shift_by_one_swap(timestep_fs, ps) for timestep_fs, ps in ONE_SWAP],
    }
    (chosen.results / "reference_exchange_bias.json").write_text(json.dumps(result, indent=1) + "\n")
    (chosen.results / "reference_exchange_bias.md").write_text(table(result))
    print(table(result))


def wells(scaled, steps: int, length_ps: float) -> dict:
    """<k x^2> / kT of both wells (three directions each) on the coldest rung at every offer, after a third of the time.

    Arrays are (rungs, ladders, wells, 3). Every ladder begins in equilibrium.
    """
    rng, dt = np.random.default_rng(1), 1e-3 * TIMESTEP_FS
    stiffness = MASS_DA * (RADIANS_PER_PS * np.array(list(WAVENUMBERS_PER_CM.values()))[:, None]) ** 2
    kt = BOLTZMANN_KJ_PER_MOL_K * np.array(TEMPERATURES_K)[:, None, None, None]
    shape = (len(TEMPERATURES_K), LADDERS, len(stiffness), 3)
    masses_da = np.full(len(stiffness), MASS_DA)
    damp = np.exp(-FRICTION_PER_PS * dt)
    x = np.sqrt(kt / stiffness) * rng.standard_normal(shape)
    v = np.sqrt(kt / MASS_DA) * rng.standard_normal(shape) - half_kicks(-stiffness * x, masses_da, TIMESTEP_FS)
    offers, samples, swaps = round(length_ps / dt / steps), [], []
    for offer in range(offers):
        for _ in range(steps):
            v += 2.0 * half_kicks(-stiffness * x, masses_da, TIMESTEP_FS)
            x += 0.5 * dt * v
            v = damp * v + np.sqrt((1.0 - damp**2) * kt / MASS_DA) * rng.standard_normal(shape)
            x += 0.5 * dt * v
        for rung in range(offer % 2, len(TEMPERATURES_K) - 1, 2):
            energies = 0.5 * (stiffness * x[rung : rung + 2] ** 2).sum(axis=(2, 3))
            swapped = rng.random(LADDERS) < acceptance(*energies, *TEMPERATURES_K[rung : rung + 2])
            swaps.append(swapped.mean())
            cold, hot = x[rung, swapped], x[rung + 1, swapped]
            factor = np.sqrt(TEMPERATURES_K[rung + 1] / TEMPERATURES_K[rung])
            warmed, cooled = (
                scaled(v[place, swapped], half_kicks(-stiffness * at, masses_da, TIMESTEP_FS), by)
                for place, at, by in ((rung, cold, factor), (rung + 1, hot, 1.0 / factor))
            )
            x[rung, swapped], x[rung + 1, swapped] = hot, cold
            v[rung, swapped], v[rung + 1, swapped] = cooled, warmed
        if offer >= offers // 3:
            samples.append((stiffness * x[0] ** 2 / kt[0]).mean(axis=2))
    of_ladders = np.mean(samples, axis=0)  # (ladders, wells)
    errors = of_ladders.std(axis=0, ddof=1) / np.sqrt(LADDERS)
    return {
        "accepted": float(np.mean(swaps)),
        "figures": {
            name: [float(mean), float(error)]
            for name, mean, error in zip(WAVENUMBERS_PER_CM, of_ladders.mean(axis=0), errors, strict=True)
        },
    }


def alanine(kind, steps: int, length_ns: float, temperatures_k=TEMPERATURES_K) -> dict:
    """Means of the energies of bonds and angles, and of all of it, in kJ/mol on the coldest rung, errors of BLOCKS
    blocks.
    """
    from fpforce.reference.peptide import build_peptide

    protocol = Protocol()
    topology, start_nm = build_peptide("A", load_force_field(protocol.force_field), 1, extended=True)
    system = protocol.make_system(topology)
    for force in system.getForces():
        force.setForceGroup(1 if type(force).__name__ in ("HarmonicBondForce", "HarmonicAngleForce") else 0)
    exchange = kind(system, start_nm, temperatures_k, timestep_fs=TIMESTEP_FS, friction_per_ps=FRICTION_PER_PS, seed=1)
    offers = round(1e6 * length_ns / TIMESTEP_FS / steps)
    every = max(1, 50 // steps)  # of the offers, a sample: not less than 0.2 ps apart
    groups, samples = {"bonds and angles": {1}, "all": {0, 1}}, []
    for offer in range(offers + offers // 20):
        exchange.advance(steps)
        if offer >= offers // 20 and offer % every == 0:
            context = exchange._contexts[exchange.coldest]
            states = (context.getState(energy=True, groups=group) for group in groups.values())
            samples.append([state.getPotentialEnergy()._value for state in states])
    samples = np.array(samples)
    blocks = np.array([block.mean(axis=0) for block in np.array_split(samples, BLOCKS)])
    errors = blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    return {
        "accepted": float(exchange.swaps.accepted.sum() / max(exchange.swaps.attempts.sum(), 1)),
        "figures": {
            name: [float(mean), float(error)]
            for name, mean, error in zip(groups, samples.mean(axis=0), errors, strict=True)
        },
    }


def shifts_of_wells(timestep_fs: float, interval_ps: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (1/ps) of wells up to 1800/cm, and the shift of each of them by one swap, so much later."""
    dt, factor = 1e-3 * timestep_fs, np.sqrt(TEMPERATURES_K[0] / TEMPERATURES_K[1])
    frequencies = RADIANS_PER_PS * np.arange(20.0, 1800.0, 1.0)
    shifts = []
    for w in frequencies:
        kick = np.array([[1.0, 0.0], [-0.5 * dt * w * w, 1.0]])
        drift = np.array([[1.0, 0.5 * dt], [0.0, 1.0]])
        damp = np.diag([1.0, np.exp(-FRICTION_PER_PS * dt)])
        step = kick @ drift @ damp @ drift @ kick
        (a, b), _ = np.linalg.matrix_power(step, round(interval_ps / dt))
        c = (factor - 1.0) * 0.5 * dt * w * w
        shifts.append(2.0 * a * b * c + (b * c) ** 2)
    return frequencies, np.array(shifts)


def bound(timestep_fs: float, interval_ps: float, up_to_per_cm: float) -> float:
    """The largest shift of a well where every offer to the coldest rung is accepted, which is every other interval:
    the sum over the swaps before a frame, the mean over frames.
    """
    ages = [shifts_of_wells(timestep_fs, age * interval_ps) for age in range(1, 11)]
    frequencies, total = ages[0][0], np.sum([shifts for _, shifts in ages], axis=0) / 2.0
    return float(np.max(np.abs(total[frequencies < up_to_per_cm * RADIANS_PER_PS])))


def shift_by_one_swap(timestep_fs: float, interval_ps: float) -> dict:
    """By how much the lagging scaling of one swap shifts <x^2> / (kT / k) one interval later: of all wells up to
    1800/cm the one that it shifts most, and root mean square and mean over them.

    A swap down by a factor f adds c x to the velocity of the whole step, c = (f - 1) (dt / 2) w^2, which had no
    correlation with x. The integrator's step is linear, x(t) = A x + B v + noise, so <x^2> changes by 2 A B c + (B c)^2
    of its value.
    """
    frequencies, shifts = shifts_of_wells(timestep_fs, interval_ps)
    worst = int(np.argmax(np.abs(shifts)))
    return {
        "timestep_fs": timestep_fs,
        "interval_ps": interval_ps,
        "largest": float(shifts[worst]),
        "wavenumber_per_cm": float(frequencies[worst] / RADIANS_PER_PS),
        "root_mean_square": float(np.sqrt(np.mean(shifts**2))),
        "mean": float(np.mean(shifts)),
    }


def table(result: dict) -> str:
    lines = [
        "# Scaling of velocities in the reference's replica exchange",
        "",
        f"Rungs of {', '.join(f'{t:g}' for t in result['temperatures_k'])} K, steps of {result['timestep_fs']:g} fs, "
        f"friction {result['friction_per_ps']:g}/ps, coldest rung; {result['hardware']}, "
        "one thread. Made by `python benchmarks/physics/reference_exchange_bias.py`.",
    ]
    names = {"wells": "<k x^2> / kT, which is 1", "alanine dipeptide": "mean energy, kJ/mol"}
    for system, what in names.items():
        rows = [row for row in result["rows"] if row["system"] == system]
        figures = list(rows[0]["figures"])
        lines += [
            "",
            f"{system.capitalize()}, {result['length'][system]} each: {what}",
            "",
            f"| offers every | velocities scaled | accepted | {' | '.join(figures)} |",
            "|---" * (3 + len(figures)) + "|",
        ]
        for row in rows:
            lines.append(
                f"| {1e-3 * TIMESTEP_FS * row['steps']:g} ps | {row['swap']} | {row['accepted']:.0%} | {cells(row)} |"
            )
        if system == "alanine dipeptide":
            lines.append(f"| never | | | {cells(result['alanine dipeptide without swaps'])} |")
    lines += [
        "",
        "Shift of <x^2> at the next frame by one swap that scales the lagging velocities, for wells of 20 to 1800/cm:",
        "",
        "| time step | swap to frame | largest | at | root mean square | mean |",
        "|---|---|---|---|---|---|",
    ]
    for shift in result["shift_by_one_swap"]:
        lines.append(
            f"| {shift['timestep_fs']:g} fs | {shift['interval_ps']:g} ps | {shift['largest']:+.3%} | "
            f"{shift['wavenumber_per_cm']:.0f}/cm | {shift['root_mean_square']:.3%} | {shift['mean']:+.4%} |"
        )
    bounds = " and ".join(
        f"{bound(*made, 1800.0):.2%} for {name} ({bound(*made, SOFT_PER_CM):.2%} below {SOFT_PER_CM:g}/cm)"
        for name, made in COMMITTED.items()
    )
    lines += [
        "",
        f"The committed data of {' and '.join(COMMITTED)} were made with the lagging scaling, with frames at every "
        "offer. The coldest rung is offered a swap every other time. Were all of them accepted, <x^2> would be off "
        f"by at most {bounds} in single wells, with either sign. "
        "4 fs with heavy hydrogens changes the widths of bonds by more ([measured](reference_timestep.md)). The data "
        "stay.",
    ]
    return "\n".join(lines) + "\n"


def cells(row: dict) -> str:
    digits = 4 if max(abs(mean) for mean, _ in row["figures"].values()) < 10 else 2
    return " | ".join(f"{mean:.{digits}f} ± {error:.{digits}f}" for mean, error in row["figures"].values())


if __name__ == "__main__":
    main()
