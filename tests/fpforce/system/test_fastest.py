"""The choice of backend and platform. OpenMM's CPU platform stands for a GPU: it, too, costs time at every step."""

import logging
from dataclasses import replace

import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.simulation.settings import SimulationSettings
from fpforce.simulation.simulate import simulate
from fpforce.system import fastest, platforms
from fpforce.system.fastest import fastest_way, first_way


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


@pytest.fixture
def measured(monkeypatch):
    """The ways that are measured from here on, with what came out; nothing is remembered from before."""
    found, measure = {}, fastest._seconds_per_step

    def recorded(force_field, replicas, threads, way):
        found[way] = measure(force_field, replicas, threads, way)
        return found[way]

    monkeypatch.setattr(fastest, "_measured", {})
    monkeypatch.setattr(fastest, "_seconds_per_step", recorded)
    return found


@pytest.fixture
def gpu(monkeypatch):
    """A machine whose GPU is the CPU platform."""
    monkeypatch.setattr(fastest, "GPU_PLATFORMS", ("CPU",))
    monkeypatch.setattr(fastest, "usable_platforms", lambda: ("CPU", "Reference"))


def test_without_a_gpu_nothing_is_measured(field, measured):
    if set(platforms.usable_platforms()) & set(platforms.GPU_PLATFORMS):
        pytest.skip("there is a GPU")
    assert fastest_way(field) == ("native", "Reference") == first_way(field)
    assert fastest_way(field, backend="python", platform="cpu") == ("python", "CPU")
    assert not measured


def test_the_way_with_the_shortest_step_is_taken_and_said(field, gpu, measured, caplog):
    caplog.set_level(logging.INFO, "fpforce")
    way = fastest_way(field, backend="native")
    assert set(measured) == {("native", "CPU"), ("native", "Reference")}
    assert way == min(measured, key=measured.get) == ("native", "Reference")  # which hands nothing to other threads
    assert "native on Reference is taken, the fastest of native on CPU (" in caplog.text


def test_on_a_gpu_the_backends_that_compute_there_are_compared(field, gpu, measured):
    assert fastest_way(field) == ("native", "Reference")
    assert set(measured) == {("native", "CPU"), ("torchforce", "CPU"), ("native", "Reference")}
    measured.clear()
    assert fastest_way(field, platform="cpu") == ("native", "CPU")
    assert set(measured) == {("native", "CPU"), ("torchforce", "CPU")}
    assert fastest_way(field, backend="python") == ("python", "Reference")


def test_the_same_is_measured_once_in_a_process(field, gpu, measured):
    first = fastest_way(field, 2, backend="native")
    measured.clear()
    assert fastest_way(fpforce.load(field.path), 2, backend="native") == first and not measured
    fastest_way(field, 3, backend="native")
    assert len(measured) == 2


def test_named_or_first_ways_are_not_measured(field, gpu, measured):
    assert fastest_way(field, backend="torchforce", platform="CPU") == ("torchforce", "CPU")
    assert first_way(field) == ("native", "CPU")
    assert not measured


def test_a_platform_that_cannot_run_the_model_is_passed_over(field, gpu, measured, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "fpforce")
    measure = fastest._seconds_per_step

    def fails(force_field, replicas, threads, way):
        if way.platform == "CPU":
            raise InputError("no memory left on the device")
        return measure(force_field, replicas, threads, way)

    monkeypatch.setattr(fastest, "_seconds_per_step", fails)
    assert fastest_way(field, backend="native") == ("native", "Reference")
    assert "native on CPU is passed over: no memory left on the device" in caplog.text


def test_a_simulation_goes_on_the_way_it_began(field, gpu, measured, tmp_path):
    short = SimulationSettings(steps=20, replicas=2, report_interval_ps=0.02, timestep_fs=2, seed=1)
    for backend, platform in (("torchforce", "CPU"), ("native", "Reference")):
        output = tmp_path / f"{backend}.xtc"
        simulate(field, output, replace(short, backend=backend, platform=platform))
        assert not measured
        result = simulate(field, output, replace(short, steps=40, resume=True))
        assert (result.backend, result.platform) == (backend, platform) and not measured
        named = simulate(field, output, replace(short, steps=60, resume=True, backend="python", platform="Reference"))
        assert (named.backend, named.platform) == ("python", "Reference")


def test_shards_are_not_measured(field, gpu, measured, tmp_path):
    settings = SimulationSettings(steps=10, replicas=2, shard_replicas=1, report_interval_ps=0.02, timestep_fs=2)
    result = simulate(field, tmp_path / "out.xtc", settings)
    assert (result.backend, result.platform) == ("native", "CPU") and not measured


def test_what_cannot_be_had_is_an_input_error(field):
    with pytest.raises(InputError, match="'Abacus' is not available"):
        fastest_way(field, platform="Abacus")
    with pytest.raises(InputError, match="unknown backend 'abacus'"):
        fastest_way(field, backend="abacus")
