"""Both toy potentials with their exact densities."""

import pytest

from fpforce.potentials import DOUBLE_WELL, MULLER_BROWN


@pytest.fixture(scope="session", params=[MULLER_BROWN, DOUBLE_WELL], ids=lambda potential: potential.name)
def potential(request):
    return request.param
