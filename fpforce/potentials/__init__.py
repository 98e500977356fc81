"""Two-dimensional potentials whose exact density is known, for tests of the method where everything can be checked.

Each is one file with its formula, which OpenMM samples and quadrature integrates.
"""

from fpforce.potentials.double_well import DOUBLE_WELL
from fpforce.potentials.exact_density import ExactComparison, ExactDensity, compare_with_exact
from fpforce.potentials.external import ExternalPotential
from fpforce.potentials.muller_brown import MULLER_BROWN

__all__ = ["DOUBLE_WELL", "MULLER_BROWN", "ExactComparison", "ExactDensity", "ExternalPotential", "compare_with_exact"]
