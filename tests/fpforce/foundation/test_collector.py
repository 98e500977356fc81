"""A pause of the collector ends with its block."""

import gc

import pytest

from fpforce.foundation.collector import collector_paused


def test_collector_is_paused_and_goes_on_also_after_an_error():
    assert gc.isenabled()
    with pytest.raises(ValueError), collector_paused():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
