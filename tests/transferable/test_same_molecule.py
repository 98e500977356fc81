"""Files of one molecule are never taken for those of another, nor for those of the same with its beads in another
order.
"""

import numpy as np
import pytest

from fpforce import SimulationSettings, load, read_simulation, simulate
from fpforce.analysis.inputs import open_iid, open_simulation_of
from fpforce.foundation.errors import InputError
from fpforce.simulation.start_frame import read_start_frame
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.train import train

ORDER = [1, 4, 0, 2, 3, 5, 9, 8, 6, 7]  # of the ten beads of VA in another PDB
SHORT = {"steps": 20, "replicas": 2, "timestep_fs": 0.1, "report_interval_ps": 0.001, "backend": "native"}


@pytest.fixture(scope="module")
def shuffled_pdb(unseen_pdb, tmp_path_factory):
    path = tmp_path_factory.mktemp("shuffled") / "VA.pdb"
    atoms = [line for line in unseen_pdb.read_text().splitlines() if line.startswith("ATOM")]
    path.write_text(
        "\n".join([atoms[k][:6] + f"{n + 1:5d}" + atoms[k][11:] for n, k in enumerate(ORDER)] + ["END", ""])
    )
    return path


@pytest.fixture(scope="module")
def other_pdb(peptide, tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "AS.pdb"
    frames = peptide("AS")
    frames.beads.write_pdb(path, frames.positions_nm[0])
    return path


def test_beads_are_found_in_another_order_and_missed_by_name(peptide_beads):
    beads = peptide_beads("VA")
    assert beads.labels[:3] == ("VAL1-N", "VAL1-CA", "VAL1-CB") and beads.labels[-1] == "ALA2-O"
    listed = [beads.labels[k] for k in ORDER]
    assert [listed[k] for k in beads.order_in(listed, "a file")] == list(beads.labels)
    with pytest.raises(InputError, match="a file is of another molecule: it has no bead VAL1-N"):
        beads.order_in(peptide_beads("AV").labels, "a file")


def test_simulation_is_read_in_the_order_of_the_topology_and_not_as_another_molecule(
    transferable_model, unseen_pdb, shuffled_pdb, other_pdb, tmp_path
):
    field = load(transferable_model)
    one, shuffled = field.bind(unseen_pdb), field.bind(shuffled_pdb)
    output = simulate(one, tmp_path / "va.xtc", SimulationSettings(**SHORT)).output
    positions = read_simulation(output, one.beads).positions_nm
    np.testing.assert_array_equal(read_simulation(output, shuffled.beads).positions_nm, positions[:, :, ORDER])
    starts = [open_simulation_of(output, bound)[0].start_nm for bound in (one, shuffled)]
    np.testing.assert_array_equal(starts[1], starts[0][ORDER])
    with pytest.raises(InputError, match="va.xtc is of another molecule"):
        open_simulation_of(output, field.bind(other_pdb))
    with pytest.raises(InputError, match="cannot resume .*: beads is"):
        simulate(shuffled, output, SimulationSettings(**SHORT | {"steps": 40}, resume=True))


def test_samples_are_read_in_the_order_of_the_topology_and_not_as_another_molecule(
    transferable_checkpoint, transferable_model, unseen_pdb, shuffled_pdb, other_pdb, tmp_path
):
    settings = {"steps": 10, "device": "cpu", "topology": unseen_pdb}
    sample(transferable_checkpoint, tmp_path / "iid.xtc", SampleSettings(samples=8, **settings))
    field = load(transferable_model)
    positions, shuffled = (
        open_iid(tmp_path / "iid.xtc", field.bind(pdb))[0].whole() for pdb in (unseen_pdb, shuffled_pdb)
    )
    np.testing.assert_array_equal(shuffled, positions[:, ORDER])
    with pytest.raises(InputError, match="iid.xtc is of another molecule"):
        open_iid(tmp_path / "iid.xtc", field.bind(other_pdb))
    with pytest.raises(InputError, match="cannot resume .*: beads is"):
        more = SampleSettings(samples=16, resume=True, **settings | {"topology": shuffled_pdb})
        sample(transferable_checkpoint, tmp_path / "iid.xtc", more)


def test_training_from_a_checkpoint_of_other_beads_is_refused(transferable_recipe, transferable_checkpoint, tmp_path):
    with pytest.raises(InputError, match="data.beads = 'name CA CB', and .* was trained with 'name N CA CB C O"):
        train(
            transferable_recipe(tmp_path, data__beads="name CA CB"), init=transferable_checkpoint, show_progress=False
        )


def test_mirrored_beads_are_no_start(transferable_model, unseen_pdb, peptide, tmp_path):
    field, frames = load(transferable_model).bind(unseen_pdb), peptide("VA")
    frames.beads.write_pdb(tmp_path / "mirrored.pdb", frames.positions_nm[0] * np.array([1.0, 1.0, -1.0]))
    with pytest.raises(InputError, match="mirrored.pdb: the frame: VAL2 is a D amino acid"):
        read_start_frame(field, tmp_path / "mirrored.pdb")


def test_start_frame_may_list_the_beads_in_another_order_and_is_of_the_same_molecule(
    transferable_model, unseen_pdb, shuffled_pdb, other_pdb
):
    field = load(transferable_model).bind(unseen_pdb)
    expected, _ = read_start_frame(field, unseen_pdb)
    np.testing.assert_array_equal(read_start_frame(field, shuffled_pdb)[0], expected)
    with pytest.raises(InputError, match="start file .*AS.pdb: the frame is of another molecule"):
        read_start_frame(field, other_pdb)
