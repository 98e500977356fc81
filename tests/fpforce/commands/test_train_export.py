"""fpforce-train and fpforce-export: exit statuses, and one clear line for everything a user can mend."""

import logging
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fpforce.commands.export import main as export_main
from fpforce.commands.train import main as train_main

SMALL = (
    "data.stride=10",
    "model.width=16",
    "model.layers=2",
    "optimizer.batch_size=32",
    "run.max_steps=20",
    "run.max_minutes=null",
    "run.threads=1",
    "run.accelerator=cpu",
)


@pytest.fixture
def run(capsys):
    """run(main, *arguments) -> (exit status, stdout, stderr); the command's log handler goes with the test's stderr."""
    logger = logging.getLogger("fpforce")
    handlers, level = logger.handlers[:], logger.level

    def call(main, *arguments):
        logger.handlers[:] = []
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    yield call
    logger.handlers[:], logger.level = handlers, level


def assert_one_line_error(result, *parts):
    status, out, err = result
    assert status == 2 and out == "", err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err, err


@pytest.fixture(scope="module")
def checkpoint(alanine, tmp_path_factory):
    """A run of 20 steps made through the command."""
    output = tmp_path_factory.mktemp("run")
    with pytest.raises(SystemExit) as stop:
        train_main([str(alanine / "recipe.yaml"), *SMALL, f"output={output}", "optimizer.warmup_steps=0"])
    assert not stop.value.code
    return output / "model.ckpt"


def test_finished_training_names_the_checkpoint_and_the_next_command(run, alanine, tmp_path):
    status, out, err = run(train_main, alanine / "recipe.yaml", *SMALL, f"output={tmp_path}")
    assert status == 0, err
    assert f"{tmp_path}/model.ckpt is ready" in out and f"fpforce-export {tmp_path}/model.ckpt" in out
    assert "training on 1930 frames of 5 beads" in err  # 2,144 less those held out


def test_finished_export_reports_its_checks(run, checkpoint, tmp_path):
    status, out, err = run(export_main, checkpoint, tmp_path / "sub" / "model.pt")
    assert status == 0, err
    assert "verified on 256 frames" in out and "mirror images" in out
    assert (tmp_path / "sub" / "model.pt").is_file()


@pytest.mark.parametrize(
    "overrides, parts",
    [
        (["run.max_step=5"], ["unknown key 'run.max_step'", "did you mean 'run.max_steps'?"]),
        (["optimizer.learning_rate=fast"], ["'optimizer.learning_rate' = 'fast'"]),
        (["temperature_k=0"], ["'temperature_k' = 0", "greater than 0"]),
        (["run.max_steps"], ["not of the form key=value"]),
        (["data.trajectories=absent.xtc"], ["absent.xtc", "does not exist"]),
        (["data.topology=absent.pdb"], ["absent.pdb", "does not exist"]),
        (["data.beads=resname ZZZ"], ["resname ZZZ"]),
        (["data.beads=name C and"], ["name C and"]),
        (["data.stride=1000"], ["frames in", "fewer than 32", "give more"]),
        (["data.length_unit=nm"], ["length_unit"]),
    ],
)
def test_wrong_recipe_or_data_is_one_line_and_makes_nothing(run, alanine, tmp_path, overrides, parts):
    output = tmp_path / "run"
    assert_one_line_error(run(train_main, alanine / "recipe.yaml", *SMALL, f"output={output}", *overrides), *parts)
    assert not list(output.glob("*"))


def written_frames(alanine, tmp_path, change):
    """100 training frames of all atoms as an array file, changed in place."""
    import mdtraj

    xyz = mdtraj.load(str(alanine / "train.xtc"), top=str(alanine / "alanine_dipeptide.pdb"))[:100].xyz.copy()
    path = tmp_path / "frames.npy"
    np.save(path, change(xyz))
    return path


def nan_in_frame_seven(xyz):
    xyz[7, 3, 1] = np.nan
    return xyz


@pytest.mark.parametrize(
    "change, unit, parts",
    [
        (nan_in_frame_seven, "nm", ["frames.npy", "frame 7"]),
        (lambda xyz: 10 * xyz, "nm", ["likely in angstrom", "length_unit"]),
        (lambda xyz: xyz, "angstrom", ["likely in nm", "length_unit"]),
        (lambda xyz: xyz[:, :8], "nm", ["8 points per frame", "has 10"]),
        (lambda xyz: xyz * np.float32([1, 1, -1]), "nm", ["ALA", "D amino acid"]),
        (lambda xyz: xyz, "null", ["without a unit"]),
    ],
    ids=["nan", "angstrom for nm", "nm for angstrom", "too few atoms", "mirrored", "no unit"],
)
def test_wrong_numbers_in_the_data_are_one_line(run, alanine, tmp_path, change, unit, parts):
    path = written_frames(alanine, tmp_path, change)
    overrides = [f"data.trajectories={path}", f"data.length_unit={unit}", "data.stride=1", f"output={tmp_path / 'run'}"]
    assert_one_line_error(run(train_main, alanine / "recipe.yaml", *SMALL, *overrides), *parts)


@pytest.mark.parametrize("stride", [1, 10])
def test_truncated_trajectory_is_one_line(run, alanine, tmp_path, stride):
    path = tmp_path / "cut.xtc"
    path.write_bytes((alanine / "train.xtc").read_bytes()[:100_001])
    result = run(
        train_main,
        alanine / "recipe.yaml",
        *SMALL,
        f"data.trajectories={path}",
        f"data.stride={stride}",
        f"output={tmp_path / 'run'}",
    )
    assert_one_line_error(result, "cut.xtc", "truncated")


def test_missing_and_broken_recipes_are_one_line(run, tmp_path):
    assert_one_line_error(run(train_main, tmp_path / "absent.yaml"), "absent.yaml does not exist")
    broken = tmp_path / "broken.yaml"
    broken.write_text("data: [\n  oops\ntemperature_k: 3\n")
    assert_one_line_error(run(train_main, broken), "broken.yaml is not valid YAML")


def test_existing_run_is_one_line_and_stays(run, alanine, checkpoint):
    before = checkpoint.read_bytes()
    result = run(train_main, alanine / "recipe.yaml", *SMALL, f"output={checkpoint.parent}")
    assert_one_line_error(result, "already exists", "--resume", "--overwrite")
    assert checkpoint.read_bytes() == before


def test_resume_without_a_run_and_with_another_recipe_are_one_line(run, alanine, checkpoint, tmp_path):
    resume = (train_main, alanine / "recipe.yaml", *SMALL, "--resume")
    assert_one_line_error(run(*resume, f"output={tmp_path}"), "nothing to resume", "without --resume")
    changed = run(*resume, f"output={checkpoint.parent}", "optimizer.warmup_steps=0", "model.width=17")
    assert_one_line_error(changed, "model.width was 16, is 17")


def test_output_below_a_file_is_one_line(run, alanine, tmp_path):
    (tmp_path / "file").write_text("")
    result = run(train_main, alanine / "recipe.yaml", *SMALL, f"output={tmp_path / 'file' / 'run'}")
    assert_one_line_error(result, "cannot create the output folder")


def test_wrong_exports_are_one_line(run, checkpoint, tmp_path):
    model = tmp_path / "model.pt"
    assert_one_line_error(run(export_main, tmp_path / "absent.ckpt", model), "absent.ckpt does not exist")
    assert_one_line_error(run(export_main, checkpoint, tmp_path / "m.ckpt"), "named like a checkpoint")
    assert run(export_main, checkpoint, model)[0] == 0
    assert_one_line_error(run(export_main, checkpoint, model), "model.pt already exists", "--overwrite")
    assert_one_line_error(run(export_main, model, tmp_path / "other.pt"), "is an exported model", "model.ckpt")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    assert_one_line_error(run(export_main, cut, tmp_path / "other.pt"), "cut.ckpt is not a readable checkpoint")
    assert not (tmp_path / "other.pt").exists()


def test_full_disk_is_one_line_and_the_earlier_checkpoint_stays_readable(alanine, tmp_path):
    # The third checkpoint of the run writes half a file and then finds the disk full, as the kernel would report it.
    program = textwrap.dedent("""
        import errno, sys
        import pytorch_lightning
        from fpforce.commands.train import main
        save, calls = pytorch_lightning.Trainer.save_checkpoint, []

        def fill_the_disk(trainer, path, *arguments):
            calls.append(path)
            save(trainer, path, *arguments)
            if len(calls) == 3:
                with open(path, "r+b") as file:
                    file.truncate(1000)
                raise OSError(errno.ENOSPC, "No space left on device", str(path))

        pytorch_lightning.Trainer.save_checkpoint = fill_the_disk
        main()
    """)
    arguments = [
        alanine / "recipe.yaml",
        *SMALL,
        "run.max_steps=2000",
        "run.checkpoint_minutes=0.0001",
        f"output={tmp_path}",
    ]
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("training on", "5 beads"))]
    assert len(errors) == 1 and f"no space left on the disk of {tmp_path}/model.ckpt" in errors[0], done.stderr
    assert "earlier checkpoint is intact" in errors[0] and "--resume" in errors[0]

    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    assert 0 < read_checkpoint(tmp_path / "model.ckpt").record.expert.steps < 2000
    assert not list(tmp_path.glob("*.part"))
