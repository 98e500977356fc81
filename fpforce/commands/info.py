"""fpforce-info: what is inside a model.pt."""

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command


@command
def main(
    model: Annotated[Path, Argument(help="force field, model.pt", show_default=False)],
    topology: Annotated[
        Path | None, Option(help="PDB of a molecule to bind a transferable force field to", show_default=False)
    ] = None,
    as_json: Annotated[bool, Option("--json", help="print all metadata as JSON")] = False,
):
    """Print what a force field file holds: model, temperature, beads, training and verification."""
    from fpforce.forcefield.artifact import load

    force_field = load(model)
    if topology is not None:
        force_field = force_field.bind(topology)
    print(json.dumps(force_field.metadata, indent=1) if as_json else describe(force_field))


def describe(force_field) -> str:
    """The force field's metadata as text for a terminal."""
    from fpforce.molecule.space import PLANE

    metadata, weights = force_field.metadata, force_field.weights()
    parameters = sum(weight.size for weight in weights.values())
    lines = [
        f"file          {force_field.path}, {force_field.path.stat().st_size / 1e6:.2f} MB",
        f"sha256        {force_field.sha256}",
        f"format        version {metadata['format_version']}, written by fpforce {metadata.get('fpforce_version')}",
        f"model         {force_field.kind}{'' if force_field.conservative else ', not conservative'}, {parameters:,} "
        f"weights in {len(weights)} tensors",
        f"settings      {_compact(metadata['model'].get('settings', {}))}",
        f"temperature   {force_field.temperature_k:g} K (kT = {force_field.kt_kj_per_mol:.5g} kJ/mol)",
        f"scale         {force_field.scale_nm:.5g} nm",
        f"t_eval        {force_field.t_eval:g}",
        f"mapping       {force_field.beads.mapping}",
        *([f"bound to      {force_field.molecule}, from {metadata['bound_to']}"] if force_field.molecule else []),
    ]
    if force_field.transferable:
        lines += _describe_types(metadata["transferable"])
    else:
        lines.append("beads         " + ", ".join(f"{bead} {bead.mass_da:.4g} Da" for bead in force_field.beads.beads))
    bonds = [
        f"{force_field.beads.beads[i].name}-{force_field.beads.beads[j].name} {mean:.4f}"
        for (i, j), mean in zip(force_field.beads.bonds, force_field.bonds_nm["mean"], strict=True)
    ]
    if bonds:
        lines.append("bonds (nm)    " + ", ".join(bonds))
    if force_field.space is PLANE:
        lines.append("space         x and y of a particle in an external potential")
    if metadata.get("wall"):
        distances = [
            f"{'-'.join(entry['names'])} {entry['distance_nm']:.4f}" for entry in metadata["wall"]["smallest_distances"]
        ]
        lines.append("wall (nm)     " + ", ".join(distances))
    training = metadata.get("training", {})
    if "steps" in training:
        lines.append(
            f"training      {training['steps']} steps in {training.get('seconds', 0):.0f} s on {training.get('device')}"
        )
    for expert in training.get("experts", ()):
        lines.append(
            f"  expert      ({expert['t_min']:g}, {expert['t_max']:g}] {expert['kind']}, "
            f"{'conservative' if expert['conservative'] else 'not conservative'}, {expert['steps']} steps"
            f"{', this one' if expert['exported'] else ''}"
        )
    for jump in training.get("hand_overs", ()):
        lines.append(f"  hand-over   at t = {jump['t']:g} the score jumps by {jump['relative_jump']:.2g} of its size")
    if training.get("calibration"):
        lines.append(f"  calibration {_compact(training['calibration'])}")
    if training.get("forces"):
        forces = training["forces"]
        ratios = forces["virial_ratios"]
        lines.append(
            f"  forces      {', '.join(forces['sources'])} in {forces['unit']}, virials {min(ratios):.3f} to "
            f"{max(ratios):.3f} of the exact values"
        )
    for name in ("data_sha256", "commit", "versions", "recipe"):
        if training.get(name):
            lines.append(f"  {name:<11} {_compact(training[name])}")
    if metadata.get("verification"):
        lines.append(f"verification  {_compact(metadata['verification'])}")
    return "\n".join(lines)


def _describe_types(transferable) -> list[str]:
    """What a transferable force field knows."""
    knowledge, names = transferable["knowledge"], transferable["trained_on"]
    return [
        f"molecules     any of its residue types; trained on {len(names)}: {', '.join(names)}",
        *([f"layout        {' | '.join(map(' '.join, knowledge['layout']))}"] if knowledge.get("layout") else []),
        *(
            f"  {residue:<11} {' or '.join(', '.join(beads) for beads in sets)}"
            for residue, sets in knowledge["residues"].items()
        ),
    ]


def _compact(value) -> str:
    """A value on one line: `a 1, b (c 2)`."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({_compact(part)})" if isinstance(part, dict) else f"{name} {part}" for name, part in value.items()
        )
    return str(value)
