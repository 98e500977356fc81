"""report.html of an evaluation, in a real browser."""

import shutil

import pytest

NARROW_PX, WIDE_PX = 400, 1400


@pytest.fixture(scope="module")
def report(small_model, alanine, tmp_path_factory):
    """report.html of two short simulations of a small model, whose path is wider than a narrow screen."""
    import fpforce

    folder = tmp_path_factory.mktemp("report")
    model = shutil.copy(small_model, folder / f"{'long_' * 12}name.pt")
    for seed, basin in enumerate(("negative", "positive")):
        fpforce.simulate(
            model,
            folder / f"{basin}.xtc",
            fpforce.SimulationSettings(
                steps=3000, replicas=16, timestep_fs=2, start=alanine / f"start_{basin}.pdb", seed=seed
            ),
        )
    evaluated = fpforce.evaluate(
        model,
        alanine / "reference.xtc",
        [folder / "negative.xtc", folder / "positive.xtc"],
        topology=alanine / "alanine_dipeptide.pdb",
        training=alanine / "train.xtc",
        output=folder,
    )
    return evaluated.html_path


@pytest.mark.parametrize("width_px", [NARROW_PX, WIDE_PX])
def test_report_in_the_browser_has_its_figures_and_no_error(report, browser, width_px):
    visit = browser.visit(report, width_px)
    assert not visit.errors
    assert len(visit.images) >= 3
    assert [source for source, width in visit.images if width == 0] == []
    assert visit.width_px <= width_px
