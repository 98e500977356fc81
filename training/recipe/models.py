"""The recipe's `model` section: one typed section for each kind of energy model, told apart by `kind`.

A new kind is a section here, a branch of `ModelRecipe`, and a network in fpforce.training.models.
"""

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

_PRIOR = "build on the analytic prior (diffused Gaussian, and of molecules bonds and angles)"

_CHIRAL = "false: a molecule and its mirror image have one energy, exactly; for molecules that have no hand"
_WALL = (
    "excluded volume: keep beads at least 3 bonds apart from coming nearer than they do in the data; true: one "
    "distance for all beads of two names, pairs: one for each pair of one molecule"
)
PAIRS = "pairs"


class Section(BaseModel):
    """A part of a recipe: fixed once read, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InternalRecipe(Section):
    """The `internal` energy model."""

    kind: Literal["internal"] = Field(
        "internal",
        description="MLP on internal coordinates of one molecule, or of many that differ in their residue types alone",
    )
    width: int = Field(128, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(3, ge=1, le=32, description="hidden layers")
    window: int | None = Field(
        None,
        ge=0,
        description="beads of a stretch that has an energy of its own, by one small network for all stretches of one "
        "molecule; 0: none, for faster steps; by default 6 for an energy of one molecule that is longer, else 0",
    )
    window_width: int = Field(32, ge=1, le=4096, description="neurons of a hidden layer of that network")
    volumes: bool = Field(
        True, description="see the signed volumes of bead triples, which tell mirror images apart in any noise"
    )
    chiral: bool = Field(True, description=_CHIRAL)
    prior: bool = Field(True, description=_PRIOR)
    wall: bool | Literal["pairs"] | None = Field(
        None, description=f"{_WALL}; by default pairs where there are rounds of calibration by default, else false"
    )
    unseen: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of diffusion.v_min, a noise variance, below which the network sees no noise (or a quarter of "
        "the least variance that the prior leaves to it, where that is less): 0.125 has forces of coarse beads nearer "
        "to the exact ones, and rare states that are harder to leave",
    )

    @field_validator("window")
    @classmethod
    def _window_has_a_dihedral(cls, window: int | None) -> int | None:
        if window is not None and 0 < window < 4:
            raise ValueError(f"window = {window} has no dihedral; set 4 beads or more, or 0 for none")
        return window

    @model_validator(mode="after")
    def _prior_where_noise_is_unseen(self) -> "InternalRecipe":
        if self.unseen and not self.prior:
            raise ValueError(
                f"unseen = {self.unseen:g} leaves small noise to the prior, and prior = False; set unseen to 0"
            )
        return self


class GraphTransformerRecipe(Section):
    """The `graph_transformer` energy model."""

    kind: Literal["graph_transformer"] = Field(
        "graph_transformer", description="attention between the beads of a molecule"
    )
    width: int = Field(64, ge=1, le=4096, description="features of a bead")
    layers: int = Field(2, ge=1, le=32, description="layers of attention")
    head_width: int = Field(16, ge=1, le=4096, description="features of an attention head; divides the width")
    chiral: bool = Field(True, description=_CHIRAL)
    prior: bool = Field(True, description=_PRIOR)
    wall: bool | Literal["pairs"] = Field(False, description=_WALL)
    identity: bool = Field(True, description="an embedding of each bead's own, besides those of its name and residue")
    edges: Literal["frames", "displacement"] = Field(
        "frames",
        description="frames: invariant under rotation; displacement: raw difference vectors, rotated at random",
    )
    cutoff_nm: float | None = Field(
        None, gt=0, description="distance at which beads cease to see each other; null: none"
    )
    neighbours: Literal["auto", "dense", "radius"] = Field(
        "auto",
        description="dense: all pairs are computed; radius: those within cutoff_nm only; auto: radius where it is the "
        "faster. The result is the same",
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> "GraphTransformerRecipe":
        if self.width % self.head_width:
            raise ValueError(f"width = {self.width} must be a multiple of head_width = {self.head_width}")
        return self

    @model_validator(mode="after")
    def _mirrors_are_known(self) -> "GraphTransformerRecipe":
        if not self.chiral and self.edges == "displacement":
            raise ValueError("chiral = false needs edges = frames: raw difference vectors have no symmetry")
        return self

    @model_validator(mode="after")
    def _radius_is_known(self) -> "GraphTransformerRecipe":
        if self.neighbours == "radius" and self.cutoff_nm is None:
            raise ValueError("neighbours = radius needs a cutoff_nm, within which beads are neighbours")
        return self


class ChainRecipe(Section):
    """The `chain` energy model."""

    kind: Literal["chain"] = Field(
        "chain",
        description="for many chains, whatever their lengths: energies of stretches of beads and of pairs by type; far "
        "cheaper than graph_transformer, without cooperation of distant beads",
    )
    width: int = Field(64, ge=1, le=4096, description="neurons of a hidden layer of the network for stretches")
    layers: int = Field(2, ge=1, le=32, description="hidden layers")
    window: int = Field(6, ge=4, description="beads of a stretch; every chain has more")
    functions: int = Field(12, ge=1, le=256, description="radial functions for pairs that have no stretch in common")
    orders: int = Field(8, ge=1, le=64, description="Fourier orders of each")
    chiral: bool = Field(True, description=_CHIRAL)
    prior: bool = Field(True, description=_PRIOR)
    wall: bool = Field(False, description=_WALL.removesuffix(", pairs: one for each pair of one molecule"))

    def of_one(self) -> InternalRecipe:
        """The model that the energy of one chain at one noise level is."""
        return InternalRecipe(
            width=1,
            layers=self.layers,
            window=self.window,
            window_width=self.width,
            volumes=False,
            chiral=self.chiral,
            prior=self.prior,
            wall=self.wall,
        )


class CustomRecipe(Section):
    """A network of the user's own, from an installed package."""

    kind: Literal["custom"] = Field("custom", description="a network of your own, from an installed package")
    network: str = Field(description="its name among the entry points of the group fpforce.networks")
    settings: dict[str, Any] = Field({}, description="keyword arguments for it")
    prior: bool = Field(True, description=_PRIOR)
    wall: bool | Literal["pairs"] = Field(False, description=_WALL)


class MlpRecipe(Section):
    """The `mlp` energy model."""

    kind: Literal["mlp"] = Field("mlp", description="MLP on x and y of one bead in an external potential")
    width: int = Field(64, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(3, ge=1, le=32, description="hidden layers")
    prior: bool = Field(True, description=_PRIOR)


def _kind(section: Any) -> str:
    """Which model a section is; `internal` unless it says otherwise."""
    return str(section.get("kind", "internal") if isinstance(section, dict) else getattr(section, "kind", "internal"))


ModelRecipe = Annotated[
    Annotated[InternalRecipe, Tag("internal")]
    | Annotated[GraphTransformerRecipe, Tag("graph_transformer")]
    | Annotated[ChainRecipe, Tag("chain")]
    | Annotated[MlpRecipe, Tag("mlp")]
    | Annotated[CustomRecipe, Tag("custom")],
    Discriminator(_kind),
]


def wall_of(model: ModelRecipe) -> bool | str:
    """What wall the force field of this model has: none, one by bead names (True), or PAIRS; a particle in the plane
    (`mlp`) never has one.
    """
    return getattr(model, "wall", None) or False


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field's type stands for: none for a plain value, several for a union of kinds.

    Of a list of sections, that of its items.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, list):
        return sections_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [section for part in get_args(annotation) for section in sections_of(part)]
    return []
