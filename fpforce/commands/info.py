"""fpforce-info: what is inside a model.pt, and which models come with the package."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from fpforce.commands.entry import command
from fpforce.commands.model_argument import PREFIX, model_file, pretrained_name

if TYPE_CHECKING:
    from fpforce.forcefield.force_field import ForceField
    from fpforce.forcefield.model_file import ModelFile
    from fpforce.forcefield.transferable.bound import TransferableForceField


@command
def main(
    model: Annotated[
        Path | None,
        Argument(
            help=f"model.pt, or {PREFIX}NAME for one that comes with the package; without it these are listed",
            show_default=False,
        ),
    ] = None,
    topology: Annotated[
        Path | None, Option(help="PDB of a molecule to bind a transferable force field to", show_default=False)
    ] = None,
    as_json: Annotated[bool, Option("--json", help="print all metadata as JSON")] = False,
    card: Annotated[bool, Option("--card", help=f"print the card of a {PREFIX}NAME: data, figures, limits")] = False,
) -> None:
    """Print what a force field file holds: model, temperature, beads, training and verification.

    Without a model, list those that come with the package.
    """
    from fpforce.forcefield.load import load
    from fpforce.foundation.errors import InputError

    if model is None:
        if topology is not None or card:
            raise InputError(f"{'--card' if card else '--topology'} is of one model; say which, such as {PREFIX}NAME")
        print(_listed(as_json))
        return
    if card:
        if topology is not None:
            raise InputError(f"--card and --topology {topology} exclude each other; give one of them")
        print(_card_of(model, as_json))
        return
    force_field = load(model_file(model))
    if topology is not None:
        force_field = force_field.bound(topology)
    print(json.dumps(force_field.metadata, indent=1) if as_json else describe(force_field))


def _listed(as_json: bool) -> str:
    """A line for each model that comes with the package, or the facts of their cards."""
    from fpforce.shipped.pretrained import card, names

    if as_json:
        return json.dumps([card(name).facts() for name in names()], indent=1)
    lines = [f"{PREFIX + name:<32} {card(name).summary}" for name in names()]
    return "\n".join([*lines, f"fpforce-info {PREFIX}NAME --card: its data, figures and limits"])


def _card_of(model: Path, as_json: bool) -> str:
    from fpforce.foundation.errors import InputError
    from fpforce.shipped.pretrained import card

    name = pretrained_name(model)
    if name is None:
        raise InputError(f"{model} has no card, which comes with a {PREFIX}NAME alone; leave --card out")
    return json.dumps(card(name).facts(), indent=1) if as_json else card(name).text.rstrip()


def describe(force_field: "ForceField | TransferableForceField") -> str:
    """The force field's metadata as text for a terminal."""
    from fpforce.forcefield.force_field import ForceField

    if isinstance(force_field, ForceField):
        what = _describe_molecule(force_field)
    else:
        what = _describe_types(force_field)
    return "\n".join(
        [
            *_describe_file(force_field),
            *what,
            *_describe_wall(force_field),
            *_describe_support(force_field),
            *_describe_making(force_field),
        ]
    )


def _describe_file(force_field: "ModelFile") -> list[str]:
    metadata, weights = force_field.metadata, force_field.weights()
    parameters = sum(weight.size for weight in weights.values())
    return [
        f"file          {force_field.path}, {force_field.path.stat().st_size / 1e6:.2f} MB",
        f"sha256        {force_field.sha256}",
        f"format        version {metadata['format_version']}, written by fpforce {metadata.get('fpforce_version')}",
        f"model         {force_field.kind}{'' if force_field.conservative else ', not conservative'}, {parameters:,} "
        f"weights in {len(weights)} tensors",
        f"settings      {_compact(metadata['model'].get('settings', {}))}",
        f"temperature   {force_field.temperature_k:g} K (kT = {force_field.kt_kj_per_mol:.5g} kJ/mol)",
        f"scale         {force_field.scale_nm:.5g} nm",
        f"t_eval        {force_field.t_eval:g}",
    ]


def _describe_molecule(force_field: "ForceField") -> list[str]:
    from fpforce.molecule.space import PLANE

    beads = force_field.beads
    lines = [f"mapping       {beads.mapping}"]
    if force_field.molecule:
        lines.append(f"bound to      {force_field.molecule}, from {force_field.metadata['bound_to']}")
    lines.append("beads         " + ", ".join(f"{bead} {bead.mass_da:.4g} Da" for bead in beads.beads))
    bonds = [
        f"{beads.beads[i].name}-{beads.beads[j].name} {mean:.4f}"
        for (i, j), mean in zip(beads.bonds, force_field.bonds_nm["mean"], strict=True)
    ]
    if bonds:
        lines.append("bonds (nm)    " + ", ".join(bonds))
    if force_field.space is PLANE:
        lines.append("space         x and y of a particle in an external potential")
    return lines


def _describe_wall(force_field: "ModelFile") -> list[str]:
    wall = force_field.metadata.get("wall")
    if not wall:
        return []
    if wall.get("of_pairs"):
        distances_nm = force_field.weights()["wall.distance_nm"]
        return [f"wall (nm)     {len(distances_nm)} pairs, {distances_nm.min():.4f} to {distances_nm.max():.4f}"]
    distances = [f"{'-'.join(entry['names'])} {entry['distance_nm']:.4f}" for entry in wall["smallest_distances"]]
    return ["wall (nm)     " + ", ".join(distances)]


def _describe_support(force_field: "ModelFile") -> list[str]:
    support = force_field.metadata.get("support")
    if not support:
        return ["support       not known: written by an earlier version, or trained on too few frames"]
    return [f"support       edge from {support['frames']} {support['of']}, by {', '.join(support['names'])}"]


def _describe_making(force_field: "ModelFile") -> list[str]:
    metadata, lines = force_field.metadata, []
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
    if training.get("weights"):
        weights = training["weights"]
        lines.append(
            f"  weights     {', '.join(weights['sources'])}: {weights['frames']} frames are worth "
            f"{weights['effective_frames']:.0f} of equal weight"
        )
    for name in ("data_sha256", "commit", "versions", "recipe"):
        if training.get(name):
            lines.append(f"  {name:<11} {_compact(training[name])}")
    if metadata.get("verification"):
        lines.append(f"verification  {_compact(metadata['verification'])}")
    return lines


def _describe_types(force_field: "TransferableForceField") -> list[str]:
    """What a transferable force field knows."""
    transferable = force_field.metadata["transferable"]
    knowledge, names = transferable["knowledge"], transferable["trained_on"]
    return [
        f"mapping       {force_field.mapping}",
        f"molecules     any of its residue types; trained on {len(names)}: {', '.join(names)}",
        *([f"layout        {' | '.join(map(' '.join, knowledge['layout']))}"] if knowledge.get("layout") else []),
        *(
            f"  {residue:<11} {' or '.join(', '.join(beads) for beads in sets)}"
            for residue, sets in knowledge["residues"].items()
        ),
    ]


def _compact(value: object) -> str:
    """A value on one line: `a 1, b (c 2)`."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({_compact(part)})" if isinstance(part, dict) else f"{name} {part}" for name, part in value.items()
        )
    return str(value)
