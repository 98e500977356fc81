"""What an assessment takes into account: the settings of fpforce.analysis.assessment.assess."""

from dataclasses import dataclass, field

from fpforce.analysis.criteria import Thresholds
from fpforce.analysis.folding import FoldedStructure
from fpforce.analysis.run_facts import RunFacts
from fpforce.analysis.support import SupportSource
from fpforce.forcefield.wall import Wall
from fpforce.foundation.errors import InputError


@dataclass(frozen=True)
class AssessmentSettings:
    """`discard` is the fraction of the simulated time left out at the start of every replica.

    `plane` as in `choose_planes`; `folded`: FoldedStructure, which makes folding the basins; `reference_time_step_ps`
    between frames of the reference, None if unknown, for its time scales; `wall`: the force field's, or None; `floor`
    as in `Floor.choose`; `support`: what says which frames the model has seen, or None; `noise_nm` of every bead along
    each axis, with which the force field has the data (model.pt); `facts` beside the frames, for the diagnosis.
    """

    discard: float = 0.5
    seed: int = 0
    thinnings: int = 10
    tica_lag_frames: int = 10
    plane: str = "auto"
    folded: FoldedStructure | None = None
    reference_time_step_ps: float | None = None
    wall: Wall | None = None
    floor: str = "auto"
    support: SupportSource | None = None
    noise_nm: float = 0.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    facts: RunFacts = field(default_factory=RunFacts)

    def __post_init__(self) -> None:
        if not 0.0 <= self.discard < 1.0:
            raise InputError(f"discard = {self.discard} is out of range; give a fraction of at least 0 and below 1")
