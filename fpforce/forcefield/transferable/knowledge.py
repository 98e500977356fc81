"""What a transferable model knows of molecules in general, and the constants of one molecule that follow from it.

In: the record in model.pt or in a checkpoint. Out: for any bead table of known types the static data of the network and
of the prior, by the names that they have in a force field of one molecule.
Source: docs/method.md, eq. 21 (modes of the prior from distances).
Longer than other files, since what is known of types, and what follows of a molecule, is one class.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fpforce.forcefield.transferable.chains import constants_of_chain, require_longer
from fpforce.forcefield.transferable.gaussian_modes import gaussian_modes
from fpforce.forcefield.transferable.graph import bond_distances, held_pairs, local_frames, separations
from fpforce.forcefield.transferable.statistics import PairStatistics, PairTable
from fpforce.forcefield.transferable.vocabulary import Vocabulary, beads_by_residue, layout_of, with_types
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

SMALLEST_VARIANCE = 0.1  # of a mode, normalised units squared: below it are bonds and angles, which the shells hold
SMALLEST_SPREAD = 1e-6  # of a distance; a bond's is some 1e-4


@dataclass(frozen=True)
class PriorTerms:
    """What the analytic prior of a molecule is made of (fpforce.training.models.prior), normalised units, float64."""

    mode_vectors: np.ndarray
    mode_variances: np.ndarray
    pairs: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class Knowledge:
    """Vocabulary and statistics by type.

    residues: for each residue type the sets of bead names that it had in the training data. choice: the recipe's
    data.beads, by which atoms become beads. smooth_length: what the features add to distances in quadrature, normalised
    units.
    smallest_variance: of the prior's modes, as of `gaussian_modes`; kept with the weights that were trained on it.
    layout: of a model whose molecules differ in their residue types alone, the names of every residue's beads, in
    order, and types_at the residue types that each residue had in training; None of any other. one_type: {name of a
    residue: the residue type that it counts as}, where it is not its own.
    """

    vocabulary: Vocabulary
    pairs: PairTable
    residues: dict[str, tuple[tuple[str, ...], ...]]
    choice: str
    smooth_length: float
    allow_d_residues: bool = False
    smallest_variance: float = SMALLEST_VARIANCE
    layout: tuple[tuple[str, ...], ...] | None = None
    types_at: tuple[tuple[str, ...], ...] | None = None
    one_type: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        tables: Sequence[BeadTable],
        statistics: Sequence[PairStatistics],
        choice: str,
        smooth_length: float,
        allow_d_residues: bool,
        one_layout: bool = False,
        one_type: Mapping[str, str] | None = None,
    ) -> "Knowledge":
        """What several molecules teach; statistics as of `measure` with the same smooth_length. one_layout: keep that
        of most.
        """
        one_type = one_type or {}
        tables = [with_types(table, one_type) for table in tables]
        found: dict[str, set[tuple[str, ...]]] = {}
        for table in tables:
            for residue, names in beads_by_residue(table):
                found.setdefault(residue, set()).add(tuple(sorted(names)))
        residues = {name: tuple(sorted(sets)) for name, sets in sorted(found.items())}
        return Knowledge(
            Vocabulary.of(*tables),
            PairTable.of(tables, statistics),
            residues,
            choice,
            smooth_length,
            allow_d_residues,
            layout=Counter(map(layout_of, tables)).most_common(1)[0][0] if one_layout else None,
            types_at=_types_at(tables) if one_layout else None,
            one_type=dict(one_type),
        )

    def with_places(self, tables: Sequence[BeadTable]) -> "Knowledge":
        """The same, with the residue types that further molecules have at the places of the layout."""
        if self.types_at is None:
            return self
        both = zip(self.types_at, _types_at([with_types(table, self.one_type) for table in tables]), strict=False)
        return replace(self, types_at=tuple(tuple(sorted({*ours, *theirs})) for ours, theirs in both))

    def without_layout(self) -> "Knowledge":
        """The same for a model that takes molecules of any layout."""
        return replace(self, layout=None, types_at=None)

    def to_dict(self) -> dict:
        """A JSON-able dict; `from_dict` reads it back."""
        return {
            "names": list(self.vocabulary.names),
            "residue_types": list(self.vocabulary.residues),
            "pairs": self.pairs.to_dict(),
            "residues": {name: [list(names) for names in sets] for name, sets in self.residues.items()},
            "choice": self.choice,
            "smooth_length": self.smooth_length,
            "allow_d_residues": self.allow_d_residues,
            "smallest_variance": self.smallest_variance,
            "layout": _lists(self.layout),
            "types_at": _lists(self.types_at),
            "one_type": dict(self.one_type),
        }

    @staticmethod
    def from_dict(record: dict) -> "Knowledge":
        """What `to_dict` wrote; InputError for a record of another version."""
        if "smallest_variance" not in record:
            raise InputError("what the model knows of bead types was written by an earlier version; train it anew")
        residues = {name: tuple(tuple(names) for names in sets) for name, sets in record["residues"].items()}
        return Knowledge(
            Vocabulary(tuple(record["names"]), tuple(record["residue_types"])),
            PairTable.from_dict(record["pairs"]),
            residues,
            record["choice"],
            record["smooth_length"],
            record["allow_d_residues"],
            record["smallest_variance"],
            _tuples(record.get("layout")),
            _tuples(record.get("types_at")),
            record.get("one_type", {}),
        )

    def network_constants(self, beads: BeadTable) -> dict[str, np.ndarray]:
        """Static data of the network, by the names of fpforce.training.models.molecule.Molecule.

        Raises InputError for a bead name, a residue type or a pair of beads that the model does not know.
        """
        beads = with_types(beads, self.one_type)
        names, residues = self.vocabulary.indices(beads)
        statistics = self.pairs.of_molecule(beads)
        return {
            "names": names,
            "residues": residues,
            "frames": local_frames(beads),
            "separation": separations(beads),
            "bond_distance": bond_distances(beads),
            "distance_mean": _square(statistics.smooth_mean, len(beads), self.smooth_length),
            "distance_variance": _square(np.maximum(statistics.smooth_variance, SMALLEST_SPREAD), len(beads), 1.0),
        }

    def require_same_beads(self, beads: BeadTable) -> None:
        """Raise InputError, naming the residue or the beads, for a residue of other beads, or other bonds, than any
        seen in training.
        """
        beads = with_types(beads, self.one_type)
        for residue, names in beads_by_residue(beads):
            known = self.residues.get(residue, ())
            if tuple(sorted(names)) not in known:
                raise InputError(
                    f"residue {residue} has the beads {', '.join(sorted(names))}, and the model knows it with "
                    f"{' or '.join(', '.join(one) for one in known) or 'none'}; choose beads as in its training"
                )
        self.pairs.require_same_bonds(beads)

    def require_layout(self, beads: BeadTable) -> None:
        """Raise InputError for a molecule with other beads, or with them in another order, than the layout has, if
        there is one.
        """
        found = layout_of(beads)
        if self.layout is not None and found != self.layout:
            raise InputError(
                f"its residues have the beads {_listed(found)}, and the model (kind internal) is for molecules with "
                f"{_listed(self.layout)}, in this order, which differ in their residue types alone; bring them into "
                "this order, or train a graph_transformer for molecules of any kind"
            )

    def new_places(self, beads: BeadTable) -> list[str]:
        """Residues, such as TRP3, of a type that no training molecule has at their place of the layout."""
        residues = dict.fromkeys((bead.residue, bead.residue_number) for bead in beads.beads)
        if self.types_at is None:
            return []
        return [
            f"{name}{number}"
            for (name, number), types in zip(residues, self.types_at, strict=True)
            if self.type_of(name) not in types
        ]

    def type_of(self, residue: str) -> str:
        """The residue type that a residue of this name has."""
        return self.one_type.get(residue, residue)

    def prior_terms(self, beads: BeadTable) -> PriorTerms:
        """The prior's modes, and the pairs that it holds."""
        statistics = self.pairs.of_molecule(with_types(beads, self.one_type))
        square = _square(statistics.mean**2 + statistics.variance, len(beads), 0.0)
        vectors, variances = gaussian_modes(square, self.smallest_variance)
        pairs = np.array(held_pairs(beads), dtype=np.int64).reshape(-1, 2)
        mean, variance = (
            _square(values, len(beads), 0.0)[pairs[:, 0], pairs[:, 1]]
            for values in (statistics.mean, np.maximum(statistics.variance, SMALLEST_SPREAD))
        )
        return PriorTerms(vectors, variances, pairs, mean, variance)

    def internal_constants(self, beads: BeadTable, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the network of this molecule alone has of its own where the model is `internal`, by name.

        weights: the shared network's. The molecule's residue types shift the biases of every hidden layer; from the
        pair statistics come those of the coordinates.
        """
        shifts = weights["shift.weight"] @ weights["types.weight"][self.types_of_residues(beads)].ravel()
        layers = sum(name.startswith("hidden.") and name.endswith(".bias") for name in weights)
        return {f"coordinates.{name}": values for name, values in self.distance_statistics(beads).items()} | {
            f"hidden.{k}.bias": weights[f"hidden.{k}.bias"] + shift for k, shift in enumerate(np.split(shifts, layers))
        }

    def distance_statistics(self, beads: BeadTable) -> dict[str, np.ndarray]:
        """Mean and variance (pairs,) of the distances, float32, as the coordinates of `internal` take them."""
        known = self.pairs.of_molecule(with_types(beads, self.one_type))
        return {
            "mean": known.mean.astype(np.float32),
            "variance": np.maximum(known.variance, SMALLEST_SPREAD).astype(np.float32),
        }

    def types_of_residues(self, beads: BeadTable) -> np.ndarray:
        """(residues,) indices of the residues' types in the vocabulary."""
        first = np.unique([bead.residue_index for bead in beads.beads], return_index=True)[1]
        return self.vocabulary.indices(with_types(beads, self.one_type))[1][first]

    def constants(
        self, beads: BeadTable, model: Mapping[str, Any], weights: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What a force field of this molecule alone has besides the shared weights, by name, in float32 and int64.

        model: its kind and settings, as fpforce.json has them. weights: the shared ones, by name.
        """
        kind, settings = model["kind"], model["settings"]
        shared = {
            name.removeprefix("network."): values for name, values in weights.items() if name.startswith("network.")
        }
        if kind == "internal":
            own = self.internal_constants(beads, shared)
        elif kind == "chain":
            require_longer(beads, settings["window"])
            words = self.vocabulary.indices(with_types(beads, self.one_type))
            own = constants_of_chain(*words, self.distance_statistics(beads), shared, settings["window"])
        else:
            own = self.network_constants(beads)
        found = {f"network.{name}": values for name, values in own.items()}
        if settings["prior"]:
            terms = self.prior_terms(beads)
            found |= {
                "prior.mode_vectors": terms.mode_vectors,
                "prior.mode_variances": terms.mode_variances,
                "prior.first": terms.pairs[:, 0].copy(),
                "prior.second": terms.pairs[:, 1].copy(),
                "prior.radius": terms.mean - terms.variance / terms.mean,
                "prior.variance": terms.variance,
                "prior.mean_square": (terms.mean**2 + terms.variance) / 3.0,
            }
        return {
            name: values.astype(np.float32) if values.dtype.kind == "f" else values for name, values in found.items()
        }

    def bond_lengths(self, beads: BeadTable) -> dict[str, np.ndarray]:
        """`mean`, `min` and `max` of every bond, in the order of beads.bonds, normalised units."""
        statistics = self.pairs.of_molecule(with_types(beads, self.one_type))
        index = np.array(beads.bonds, dtype=int).reshape(-1, 2)
        values = {"mean": statistics.mean, "min": statistics.low, "max": statistics.high}
        return {name: _square(value, len(beads), 0.0)[index[:, 0], index[:, 1]] for name, value in values.items()}

    def ranges_nm(self, beads: BeadTable, scale_nm: float) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest distance (pairs,) of each pair of a molecule, in the order of np.triu_indices; scale_nm:
        what the training divided lengths by.
        """
        known = self.pairs.of_molecule(with_types(beads, self.one_type))
        return scale_nm * known.low, scale_nm * known.high


def _types_at(tables: Sequence[BeadTable]) -> tuple[tuple[str, ...], ...]:
    """Residue types at every place, as far as all molecules have as many residues."""
    places = zip(*([residue for residue, _ in beads_by_residue(table)] for table in tables), strict=False)
    return tuple(tuple(sorted(set(types))) for types in places)


def _lists(groups: tuple[tuple[str, ...], ...] | None) -> list[list[str]] | None:
    return None if groups is None else [list(group) for group in groups]


def _tuples(groups: list[list[str]] | None) -> tuple[tuple[str, ...], ...] | None:
    return None if groups is None else tuple(map(tuple, groups))


def _listed(layout: tuple[tuple[str, ...], ...]) -> str:
    return " | ".join(" ".join(names) for names in layout)


def _square(values: np.ndarray, beads: int, diagonal: float) -> np.ndarray:
    """(n, n) symmetric table of the values of all pairs i < j, (pairs,)."""
    whole = np.full((beads, beads), diagonal)
    first, second = np.triu_indices(beads, k=1)
    whole[first, second] = whole[second, first] = values
    return whole
