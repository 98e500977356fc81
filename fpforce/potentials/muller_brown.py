"""The Müller-Brown potential: three minima on a curved path, two barriers.

Source: K. Müller and L. D. Brown, Theor. Chim. Acta 53, 75 (1979), doi:10.1007/BF00547608:
V = sum_k A_k exp[a_k (x - X_k)^2 + b_k (x - X_k)(y - Y_k) + c_k (y - Y_k)^2].

Here one unit of length is 1 nm and one of energy 0.125 kJ/mol, so that kT at 300 K is 19.95 units: the minima lie at
-7.4, -5.4 and -4.1 kT, and the barrier out of the deepest is 5.3 kT.
"""

from fpforce.potentials.external import ExternalPotential

UNIT_KJ_PER_MOL = 0.125

_TERMS = (
    # A, a, b, c, X, Y
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)


def _term(A: float, a: float, b: float, c: float, X: float, Y: float) -> str:
    u, v = f"(x-({X}))", f"(y-({Y}))"
    return f"({UNIT_KJ_PER_MOL * A})*exp(({a})*{u}*{u}+({b})*{u}*{v}+({c})*{v}*{v})"


MULLER_BROWN = ExternalPotential(
    name="Müller-Brown",
    expression="+".join(_term(*term) for term in _TERMS),
    # The line across the path at the higher saddle, (-0.822, 0.624).
    basin="y-0.6*x-1.12",
    box_nm=((-1.8, 1.4), (-0.7, 2.4)),
    starts_nm={"upper": (-0.558, 1.442), "lower": (0.623, 0.028)},
)
