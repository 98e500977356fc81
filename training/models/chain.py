"""`chain`: one energy for many chains, whatever their lengths, at a cost that grows with their beads and pairs alone.

In: normalised positions of a padded batch of chains, times, the types of their beads. Out: energies (batch,). Every
stretch of neighbouring beads has an energy by the small network of `windows`, to which the types of its beads shift the
biases; every pair of beads farther apart one that is a sum of radial functions of its distance, learned at each noise
level, each times an amount: what both beads bring added up, plus a product of what they bring, as hydropathies and
charges come in. Nothing of it is of more than a stretch or two beads, so what folds by cooperation of distant beads is
for `graph_transformer`; disordered chains are for this.
A chain at one noise level is an `internal` model (fpforce.forcefield.transferable.chains), which every backend knows.
Source: docs/method.md, eq. 43.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fpforce.forcefield.transferable.chains import (
    ENDS,
    SEPARATIONS,
    constants_of_chain,
    ends_of,
    inputs_of_stretches,
    require_longer,
    separation_classes,
)
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.vocabulary import with_types
from fpforce.molecule.beads import BeadTable
from fpforce.training.diffusion import alpha, sigma_squared, time_of_variance
from fpforce.training.models.contract import Network
from fpforce.training.models.internal import WINDOWS_SEE, InternalCoordinates, InternalModel
from fpforce.training.models.local_series import DELTA, ORDERS, LocalSeries, modes_of
from fpforce.training.models.noise import NoiseFeatures
from fpforce.training.models.windows import WindowLayers
from fpforce.training.recipe.models import ChainRecipe
from fpforce.training.recipe.plan import BOND

TYPE_FEATURES = 16  # of a bead's embedding
NEAREST = 0.005  # of the distances of beads in no common stretch, which count as contact
SOME_FRAMES = 500  # from which that is taken


class PairFunctions(nn.Module):
    """The energies of pairs of beads that have no stretch in common.

    A pair's distance is turned into an angle as PairSeries turn it, with a resolution of `width` about `centre`; a
    radial function is a Fourier series of it whose weights depend on the noise level, in all (functions, 2, orders).
    """

    centre: Tensor
    width: Tensor

    def __init__(self, functions: int, orders: int, centre: float, width: float):
        super().__init__()
        self.shape = (functions, 2, orders)
        self.orders, self.delta = orders, DELTA
        self.register_buffer("centre", torch.tensor([centre]))
        self.register_buffer("width", torch.tensor([width]))
        self.of_beads = nn.Linear(TYPE_FEATURES, 2 * functions, bias=False)
        self.separations = nn.Embedding(SEPARATIONS, functions)
        self.head = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, functions * 2 * orders))
        for parameter in self.head[2].parameters():
            nn.init.zeros_(parameter)

    def amounts(self, embedded: Tensor, first: Tensor, second: Tensor, classes: Tensor) -> Tensor:
        """(batch, pairs, functions), of beads (batch, n, features) and pairs (pairs,) of such separations."""
        added, multiplied = self.of_beads(embedded).chunk(2, -1)
        products = multiplied[:, first] * multiplied[:, second]
        return added[:, first] + added[:, second] + products + self.separations(classes)

    def forward(self, distances: Tensor, amounts: Tensor, level: Tensor, t: Tensor) -> Tensor:
        """(batch,), of smoothed distances (batch, pairs) and amounts (1 or batch, pairs, functions)."""
        signal = alpha(t)[:, None]
        spread = signal.square() * self.width.square() + 2.0 * sigma_squared(t)[:, None]
        v = (distances - signal * self.centre) * torch.rsqrt(spread)
        part = 1.0 / (1.0 + v.square())
        waves = modes_of((1.0 - v.square()) * part, 2.0 * v * part, self.orders, self.delta)
        weights = self.head(level).view(-1, self.shape[0], self.shape[1] * self.shape[2])
        values = torch.matmul(waves.transpose(1, 2).flatten(2), weights.transpose(1, 2))
        return alpha(t).square() * (values * amounts).sum((1, 2))

    @torch.jit.ignore
    def at(self, level: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """The functions' weights, centre and width at one time, float64."""
        time = torch.tensor([t], dtype=torch.float64)
        head, signal = self.head.double(), alpha(time)
        functions = signal.square() * head(level.double()).view(self.shape)
        head.to(self.width.dtype)
        width = torch.sqrt(signal.square() * self.width.double().square() + 2.0 * sigma_squared(time))
        return functions.detach(), signal * self.centre.double(), width


class SharedChain(Network):
    """The network for chains of known types, each longer than a stretch.

    bond: mean distance of neighbours. contact: distance of the nearest beads of no common stretch. Both in normalised
    units; a bond more than contact is where distances are resolved best, to about a bond.
    """

    first: Tensor
    second: Tensor
    inputs: Tensor
    far_first: Tensor
    far_second: Tensor
    far_classes: Tensor

    def __init__(
        self, settings: ChainRecipe, v_min: float, knowledge: Knowledge, bond: float = BOND, contact: float = BOND
    ):
        super().__init__()
        self.knowledge, self.settings = knowledge, settings
        self.window, self.chiral, self.v_min = settings.window, settings.chiral, v_min
        self.noise = NoiseFeatures(v_min)
        pairs = self.window * (self.window + 1) // 2
        self.coordinates = InternalCoordinates(
            torch.zeros(pairs),
            torch.ones(pairs),
            self.window + 1,
            torch.zeros(0, 3, dtype=torch.long),
            self.chiral,
            bond,
        )
        of_pairs, turns = self.window * (self.window - 1), self.window - 3
        earliest = float(time_of_variance(torch.tensor(WINDOWS_SEE * v_min, dtype=torch.float64)))
        self.windows = WindowLayers(of_pairs + 4 * turns, settings.width, settings.layers, earliest)
        if not self.chiral:
            odd = [of_pairs + part * turns + k for part in (1, 3) for k in range(turns)]
            with torch.no_grad():
                self.windows.hidden[0].weight[:, odd] = 0.0
        self.names = nn.Embedding(len(knowledge.vocabulary.names), TYPE_FEATURES)
        self.residues = nn.Embedding(len(knowledge.vocabulary.residues), TYPE_FEATURES)
        self.ends = nn.Embedding(ENDS, TYPE_FEATURES)
        self.of_stretches = nn.Linear(self.window * TYPE_FEATURES, (settings.layers + 1) * settings.width)
        with torch.no_grad():  # nothing is added to the prior before the first step
            self.of_stretches.weight[-settings.width :] = 0.0
            self.of_stretches.bias[-settings.width :] = 0.0
        self.pairs = PairFunctions(settings.functions, settings.orders, contact + bond, bond)
        self.offset = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 1))

    def numbers_of_a_frame(self, beads: int) -> int:
        return beads * (beads - 1) * self.settings.orders

    def batch_of(self, molecules: Sequence[BeadTable]) -> dict[str, Tensor]:
        """What the network has of several chains, (molecules, ...) by name, padded; their tables are kept."""
        most = max(map(len, molecules))
        i, j = np.triu_indices(most, k=1)
        near, far = j - i < self.window, j - i >= self.window
        local = np.stack([i[near], j[near]], 1)
        tables = {
            "first": local[:, 0],
            "second": local[:, 1],
            "inputs": inputs_of_stretches(most, self.window, local),
            "far_first": i[far],
            "far_second": j[far],
            "far_classes": separation_classes(j[far] - i[far], self.window),
        }
        for name, values in tables.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)
        found: dict[str, np.ndarray] = {
            name: np.zeros((len(molecules), most), dtype=np.int64) for name in ("names", "residues", "ends")
        }
        found |= {name: np.ones((len(molecules), len(local)), dtype=np.float32) for name in ("mean", "variance")}
        for row, beads in enumerate(molecules):
            require_longer(beads, self.window)
            names, residues, statistics = self._of(beads)
            size = len(beads)
            for name, values in (("names", names), ("residues", residues), ("ends", ends_of(size))):
                found[name][row, :size] = values
            first, second = np.triu_indices(size, k=1)
            number = np.zeros((most, most), dtype=np.int64)
            number[first, second] = np.arange(len(first))
            here = local[:, 1] < size
            for name, values in statistics.items():
                found[name][row, here] = values[number[local[here, 0], local[here, 1]]]
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def of_rows(self, data: dict[str, Tensor], mask: Tensor | None) -> "ChainsOfRows":
        """The network on a batch of which data (batch, ...) say what each row is, and mask (batch, n) which beads
        exist.
        """
        return ChainsOfRows(self, mask=mask, **data)

    def settled(self, t: float) -> "SharedChain":
        with torch.no_grad():
            functions, centre, width = self.pairs.at(self.noise(torch.tensor([t], dtype=torch.float64)), t)
        like = self.pairs.width
        del self.pairs.head
        self.pairs.register_buffer("functions", functions.to(like))
        self.pairs.register_buffer("centre", centre.to(like))
        self.pairs.register_buffer("width", width.to(like))
        self.register_buffer("series_orders", torch.tensor([ORDERS]))
        return self

    def bound(self, beads: BeadTable) -> "ChainOfOne":
        """The network of one chain, at all times, with a copy of these weights."""
        require_longer(beads, self.window)
        weights = self.state_dict()
        shape = self.pairs.shape
        numpy = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
        names, residues, statistics = self._of(beads)
        nothing = {"pairs.functions": np.zeros(shape, dtype=np.float32), "series_orders": np.array([ORDERS])}
        own = constants_of_chain(names, residues, statistics, numpy | nothing, self.window)
        weights |= {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in own.items()}
        like = self.names.weight
        local = internal_of(self.settings, len(beads), self.v_min).to(like)
        local.load_state_dict({name: weights[name] for name in local.state_dict()})
        i, j = np.triu_indices(len(beads), k=1)
        far = j - i >= self.window
        pairs = torch.from_numpy(np.stack([i[far], j[far]], 1))
        classes = torch.from_numpy(separation_classes(j[far] - i[far], self.window))
        with torch.no_grad():
            embedded = self._embedded(torch.from_numpy(names), torch.from_numpy(residues), ends_of(len(beads)))
            amounts = self.pairs.amounts(embedded[None], pairs[:, 0], pairs[:, 1], classes)
        functions = PairFunctions(shape[0], shape[2], 0.0, 1.0).to(like)
        functions.load_state_dict(self.pairs.state_dict())
        return ChainOfOne(local, functions, pairs, amounts)

    def _of(self, beads: BeadTable) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        names, residues = self.knowledge.vocabulary.indices(with_types(beads, self.knowledge.one_type))
        return names, residues, self.knowledge.distance_statistics(beads)

    def _embedded(self, names: Tensor, residues: Tensor, ends: np.ndarray) -> Tensor:
        device = self.names.weight.device
        parts = ((self.names, names), (self.residues, residues), (self.ends, torch.from_numpy(ends)))
        return sum((table(index.to(device)) for table, index in parts), self.names.weight.new_zeros(1))


class ChainsOfRows(Network):
    """A shared network on a batch of different chains: names, residues, ends (batch, n), mean and variance (batch,
    pairs) of the pairs in a stretch.
    """

    def __init__(
        self,
        shared: SharedChain,
        mask: Tensor | None,
        names: Tensor,
        residues: Tensor,
        ends: Tensor,
        mean: Tensor,
        variance: Tensor,
    ):
        super().__init__()
        self.shared, self.mask, self.mean, self.variance = shared, mask, mean, variance
        self.names, self.residues, self.ends = names, residues, ends

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shared, level = self.shared, self.shared.noise(t)
        late = shared.windows.seen(t)
        embedded = shared.names(self.names) + shared.residues(self.residues) + shared.ends(self.ends)
        own = shared.of_stretches(embedded.unfold(1, shared.window, 1).transpose(2, 3).flatten(2))
        parts = own.unflatten(-1, (shared.settings.layers + 1, shared.settings.width)).movedim(2, 0)
        coordinates = shared.coordinates
        u = x[:, shared.first] - x[:, shared.second]
        features = coordinates.deviations(u, late, self.mean, self.variance) + coordinates.harmonics(x, t)
        seen = torch.cat(features, -1)[:, shared.inputs]
        of_stretches = shared.windows.energies(seen, shared.noise(late), parts[:-1], parts[-1])
        amounts = shared.pairs.amounts(embedded, shared.far_first, shared.far_second, shared.far_classes)
        if self.mask is not None:
            of_stretches = of_stretches * self.mask[:, shared.window - 1 :]
            amounts = amounts * self.mask[:, shared.far_second, None]
        apart = x[:, shared.far_first] - x[:, shared.far_second]
        distances = torch.sqrt(apart.square().sum(-1) + coordinates.blurs[0] ** 2)
        energy = alpha(late).square() * of_stretches.sum(1) + shared.pairs(distances, amounts, level, t)
        return energy + shared.offset(level).squeeze(-1)


class ChainOfOne(Network):
    """One chain at all times: its stretches as an `internal` model, and its pairs (pairs, 2) that have none in common,
    with the amounts (1, pairs, functions) of the radial functions that each has.
    """

    pairs: Tensor
    amounts: Tensor

    def __init__(self, local: InternalModel, functions: PairFunctions, pairs: Tensor, amounts: Tensor):
        super().__init__()
        self.local, self.functions = local, functions
        self.chiral = local.chiral
        self.register_buffer("pairs", pairs)
        self.register_buffer("amounts", amounts)

    def constants(self) -> dict[str, float | int | bool | str]:
        return self.local.constants()

    @torch.jit.ignore
    def readout(self) -> nn.Linear:
        return self.local.readout()

    @torch.jit.ignore
    def settled(self, t: float) -> InternalModel:
        local, like = self.local, self.amounts
        with torch.no_grad():
            functions, centre, width = self.functions.at(local.noise(torch.tensor([t], dtype=torch.float64)), t)
            of_pairs = torch.einsum("pm,mcn->cpn", self.amounts[0].double(), functions)
        every = local.series_pairs()
        weights = of_pairs.new_zeros(2, len(every), functions.shape[2])
        beads = local.coordinates.beads
        number = torch.zeros(beads, beads, dtype=torch.long)
        number[every[:, 0], every[:, 1]] = torch.arange(len(every))
        weights[:, number[self.pairs[:, 0], self.pairs[:, 1]]] = of_pairs
        local.have_pairs(centre.expand(len(every)).to(like), width.expand(len(every)).to(like), functions.shape[2])
        assert local.pair_series is not None
        local.pair_series.weights.copy_(weights)
        return local

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        u = x[:, self.pairs[:, 0]] - x[:, self.pairs[:, 1]]
        distances = torch.sqrt(u.square().sum(-1) + self.local.coordinates.blurs[0] ** 2)
        return self.local(x, t) + self.functions(distances, self.amounts, self.local.noise(t), t)


def internal_of(settings: ChainRecipe, beads: int, v_min: float) -> InternalModel:
    """The `internal` model of a chain of so many beads, for weights to be loaded into."""
    pairs = beads * (beads - 1) // 2
    coordinates = InternalCoordinates(
        torch.zeros(pairs), torch.ones(pairs), beads, torch.zeros(0, 3, dtype=torch.long), settings.chiral
    )
    one = settings.of_one()
    local = InternalModel(coordinates, one.width, one.layers, v_min, settings.window, one.window_width)
    local.series = LocalSeries(torch.zeros(2, 2 * beads - 5, ORDERS))
    return local


def resolution_of(frames: Tensor, window: int) -> dict[str, float]:
    """`bond` and `contact` of padded frames (frames, beads, 3), of some of them; a bead at 0 does not exist."""
    some = frames[:: -(-len(frames) // SOME_FRAMES)]
    exists = some.abs().sum(-1) > 0.0
    i, j = torch.triu_indices(some.shape[1], some.shape[1], offset=window)
    distances = (some[:, i] - some[:, j]).norm(dim=-1)[exists[:, j]].double()
    bonds = (some[:, 1:] - some[:, :-1]).norm(dim=-1)[exists[:, 1:]].double()
    contact = distances.kthvalue(1 + int(NEAREST * len(distances))).values
    return {"bond": float(bonds.mean()), "contact": float(contact)}
