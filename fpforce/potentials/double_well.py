"""A double well in x with wells of different depth, harmonic in y.

U = a/4 x^4 - b/2 x^2 + c x + d/2 y^2, x and y in units of 1 nm: the form of the two-dimensional double well of F. Noé,
S. Olsson, J. Köhler and H. Wu, Science 365, eaaw1147 (2019). The coefficients are chosen for this program: a, b, c, d =
1, 4, 0.25, 1 kT at 300 K, so that the wells at -2.03 and 1.97 nm differ by 1 kT and the barrier out of the deeper is
4.5 kT.
"""

from fpforce.potentials.external import ExternalPotential

KT_KJ_PER_MOL = 2.494338785445972  # at 300 K
A, B, C, D = (KT_KJ_PER_MOL * value for value in (1.0, 4.0, 0.25, 1.0))

DOUBLE_WELL = ExternalPotential(
    name="double well",
    expression=f"{A / 4}*x*x*x*x-{B / 2}*x*x+{C}*x+{D / 2}*y*y",
    basin="x",
    box_nm=((-3.6, 3.6), (-4.6, 4.6)),
    starts_nm={"left": (-2.03, 0.0), "right": (1.97, 0.0)},
)
