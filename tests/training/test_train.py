"""The training loop: resumed runs repeat uninterrupted ones, limits hold, nothing earlier is lost, everything is
logged.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.loop.learning_rate import learning_rate
from fpforce.training.train import train

TRAIN = [sys.executable, "-c", "from fpforce.commands.train import main; main()"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def start_process(recipe):
    """fpforce-train of a recipe (its JSON is YAML) in a process of its own."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    path = recipe.output.parent / f"{recipe.output.name}.yaml"
    path.write_text(json.dumps(recipe.model_dump(mode="json")))
    return subprocess.Popen(
        [*TRAIN, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def wait_for_checkpoint(process, path, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_weights(first, second):
    assert first.weights.keys() == second.weights.keys()
    for name, value in first.weights.items():
        torch.testing.assert_close(second.weights[name], value, rtol=1e-5, atol=1e-6, msg=name)


def logged_steps(output):
    rows = [row for path in sorted(output.glob("logs/csv/*/metrics.csv")) for row in csv.DictReader(path.open())]
    return [int(row["step"]) for row in rows if row["denoising"]]  # the others are of what was watched


@pytest.fixture(scope="module")
def uninterrupted(small_recipe, tmp_path_factory):
    """A run of 300 steps that writes its checkpoint at the end only."""
    output = tmp_path_factory.mktemp("uninterrupted")
    return read_checkpoint(train(small_recipe(output, "run.max_steps=300"), show_progress=False))


def test_killed_and_resumed_run_ends_where_an_uninterrupted_one_does(small_recipe, tmp_path, uninterrupted):
    recipe = small_recipe(tmp_path / "run", "run.max_steps=300", "run.checkpoint_minutes=0.001")
    process = start_process(recipe)
    wait_for_checkpoint(process, recipe.output / "model.ckpt")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    half = read_checkpoint(recipe.output / "model.ckpt")
    assert 0 < half.record.expert.steps < 300
    resumed = read_checkpoint(train(recipe, resume=True, show_progress=False))
    assert resumed.record.expert.steps == 300 and resumed.record.expert.seconds > half.record.expert.seconds
    assert_same_weights(uninterrupted, resumed)
    assert resumed.record.expert.usual_norm == uninterrupted.record.expert.usual_norm != {}
    for name, values in uninterrupted.record.expert.curves.items():
        assert resumed.record.expert.curves[name] == pytest.approx(values, rel=1e-4), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_exits_with_130_and_leaves_a_checkpoint_to_go_on_from(small_recipe, tmp_path, uninterrupted, number):
    recipe = small_recipe(tmp_path / "run", "run.max_steps=300", "run.checkpoint_minutes=0.001")
    process = start_process(recipe)
    wait_for_checkpoint(process, recipe.output / "model.ckpt")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("interrupted: stopped after step") and "--resume" in errors
    steps = read_checkpoint(recipe.output / "model.ckpt").record.expert.steps
    assert f"after step {steps};" in errors and 0 < steps < 300
    assert_same_weights(uninterrupted, read_checkpoint(train(recipe, resume=True, show_progress=False)))


def test_interrupt_while_the_step_is_compiled_ends_the_run_at_once(small_recipe, tmp_path, monkeypatch):
    """Whatever the compiler is doing: nothing is there yet that would be lost."""
    recipe = small_recipe(tmp_path / "run", "run.compile=true")

    def compiler(*_):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on compiling")

    monkeypatch.setattr("fpforce.training.loop.compiled_step.CompiledStep", compiler)
    with pytest.raises(
        KeyboardInterrupt, match="stopped while the training step was compiled; nothing was trained yet"
    ):
        train(recipe, show_progress=False)
    train(small_recipe(tmp_path / "run", "run.max_steps=3"), show_progress=False)
    with pytest.raises(KeyboardInterrupt, match="model.ckpt is as it was, go on with --resume"):
        train(recipe, resume=True, show_progress=False)


def test_a_stop_before_the_first_step_is_said_and_leaves_ctrl_c_as_it_was(small_recipe, tmp_path, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fpforce.training.loop.expert_training.ExpertTraining.configure_optimizers", stopped)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped; nothing was trained yet, start again"):
        train(small_recipe(tmp_path / "run"), show_progress=False)
    assert signal.getsignal(signal.SIGINT) is before


def test_double_precision_trains_as_single_does_within_rounding(small_recipe, tmp_path):
    ends = {}
    for precision in ("32-true", "64-true"):
        recipe = small_recipe(tmp_path / precision, f"run.precision={precision}", "run.max_steps=10")
        ends[precision] = read_checkpoint(train(recipe, show_progress=False))
    assert {w.dtype for w in ends["64-true"].weights.values() if w.is_floating_point()} == {torch.float64}
    x, t = ends["32-true"].record.check_frames[:20].float(), torch.full((20,), 0.1)
    single, double = (end.model()(x, t).detach() for end in ends.values())
    assert (single - double).std() < 1e-2 * single.std()


def test_same_seed_gives_the_same_weights_and_another_seed_others(small_recipe, tmp_path, uninterrupted):
    def weights(seed, folder):
        recipe = small_recipe(tmp_path / folder, "run.max_steps=20", f"run.seed={seed}")
        return read_checkpoint(train(recipe, show_progress=False))

    first = weights(3, "a")
    assert_same_weights(first, weights(3, "b"))
    other = weights(4, "c")
    assert any(not torch.equal(first.weights[name], other.weights[name]) for name in first.weights)


def test_resume_with_another_recipe_is_refused_and_names_the_key(small_recipe, tmp_path):
    train(small_recipe(tmp_path, "run.max_steps=10"), show_progress=False)
    before = (tmp_path / "model.ckpt").read_bytes()
    for override in ("optimizer.learning_rate=1e-4", "model.prior=false", "run.seed=9", "temperature_k=310"):
        with pytest.raises(InputError, match=f"{override.split('=')[0]} was .*--overwrite"):
            train(small_recipe(tmp_path, "run.max_steps=10", override), resume=True, show_progress=False)
    assert (tmp_path / "model.ckpt").read_bytes() == before


def test_finished_run_can_be_made_longer(small_recipe, tmp_path):
    train(small_recipe(tmp_path, "run.max_steps=10"), show_progress=False)
    train(small_recipe(tmp_path, "run.max_steps=30"), resume=True, show_progress=False)
    record = read_checkpoint(tmp_path / "model.ckpt").record
    assert record.expert.steps == 30 and record.expert.curves["step"] == [10, 20, 30]


def test_resuming_a_finished_run_changes_nothing(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, "run.max_steps=10")
    first = read_checkpoint(train(recipe, show_progress=False))
    again = read_checkpoint(train(recipe, resume=True, show_progress=False))
    assert again.record.expert.steps == 10
    assert_same_weights(first, again)


def test_resume_needs_a_checkpoint(small_recipe, tmp_path):
    with pytest.raises(InputError, match="nothing to resume.*without --resume"):
        train(small_recipe(tmp_path / "empty"), resume=True, show_progress=False)


def test_earlier_run_is_refused_without_overwrite_and_replaced_with_it(small_recipe, tmp_path):
    train(small_recipe(tmp_path, "run.max_steps=10"), show_progress=False)
    before = (tmp_path / "model.ckpt").read_bytes()
    with pytest.raises(InputError, match="already exists; --resume .* --overwrite"):
        train(small_recipe(tmp_path, "run.max_steps=20"), show_progress=False)
    assert (tmp_path / "model.ckpt").read_bytes() == before
    train(small_recipe(tmp_path, "run.max_steps=20"), overwrite=True, show_progress=False)
    assert read_checkpoint(tmp_path / "model.ckpt").record.expert.steps == 20


def test_wrong_data_cost_no_earlier_run_even_with_overwrite(small_recipe, tmp_path):
    train(small_recipe(tmp_path, "run.max_steps=10"), show_progress=False)
    before = (tmp_path / "model.ckpt").read_bytes()
    with pytest.raises(InputError, match="fewer than 32"):
        train(small_recipe(tmp_path, "data.stride=1000"), overwrite=True, show_progress=False)
    assert (tmp_path / "model.ckpt").read_bytes() == before


def test_few_frames_come_up_more_than_once_in_a_step_and_the_log_says_so(small_recipe, tmp_path, caplog):
    with caplog.at_level("INFO", logger="fpforce"):
        recipe = small_recipe(tmp_path, "run.max_steps=3", "data.stride=200", "optimizer.batch_size=512")
        path = train(recipe, show_progress=False)
    assert (
        "88 frames in" in caplog.text and "beside 20 held out are fewer than the 256 that a step draws" in caplog.text
    )
    assert read_checkpoint(path).record.expert.steps == 3


def test_minutes_limit_the_run_and_the_learning_rate_ends_with_them(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, "run.max_steps=1000000", "run.max_minutes=0.03")
    record = read_checkpoint(train(recipe, show_progress=False)).record
    # 0.03 min = 1.8 s, overstepped by the step in progress, which takes long on a very busy machine only.
    assert 1.8 <= record.expert.seconds < 5.0 and 0 < record.expert.steps < 1_000_000
    rates = [
        float(row["learning_rate"])
        for path in tmp_path.glob("logs/csv/*/metrics.csv")
        for row in csv.DictReader(path.open())
        if row["learning_rate"]  # the others are of what was watched
    ]
    assert rates[-1] < 0.1 * max(rates)


def test_learning_rate_warms_up_and_falls_to_a_thousandth(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, "optimizer.learning_rate=1e-3", "optimizer.warmup_steps=99")
    # Linear warm-up to step 100, then half a cosine: 1/2 (1 + cos(pi/2)) = 1/2 in the middle.
    assert learning_rate(recipe.optimizer, 0, 0.0) == pytest.approx(1e-5)
    assert learning_rate(recipe.optimizer, 49, 0.0) == pytest.approx(5e-4)
    assert learning_rate(recipe.optimizer, 500, 0.5) == pytest.approx(1e-3 * (0.001 + 0.999 * 0.5))
    assert learning_rate(recipe.optimizer, 1000, 1.0) == pytest.approx(1e-6)


def test_curves_and_logs_hold_one_entry_per_interval(uninterrupted):
    output = uninterrupted.path.parent
    steps = list(range(10, 301, 10))
    curves = uninterrupted.record.expert.curves
    assert curves["step"] == steps and logged_steps(output) == steps
    rows = [row for row in csv.DictReader(next(output.glob("logs/csv/*/metrics.csv")).open()) if row["denoising"]]
    for name in ("denoising", "fokker_planck"):
        assert [float(row[name]) for row in rows] == pytest.approx(curves[name], rel=1e-6)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "logs" / "tensorboard")).Reload()
    for name in ("denoising", "fokker_planck"):
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == steps
        assert [event.value for event in scalars] == pytest.approx(curves[name], rel=1e-6)


def test_denoising_loss_falls_below_that_of_no_score_and_below_its_start(uninterrupted):
    # A zero score gives 1 (test_exact_densities); the untrained prior is the start.
    curve = uninterrupted.record.expert.curves["denoising"]
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 < 1.0


def test_resolved_recipe_is_stored_with_the_run_and_trains_again(small_recipe, uninterrupted):
    from fpforce.training.recipe.plan import settled
    from fpforce.training.recipe.read import load_recipe

    output = uninterrupted.path.parent
    asked = settled(small_recipe(output, "run.max_steps=300"), 12)
    assert load_recipe(output / "recipe.yaml") == asked == uninterrupted.recipe


def test_checkpoint_holds_the_averaged_weights(small_recipe, tmp_path):
    def both(decay):
        path = train(
            small_recipe(tmp_path / str(decay), "run.max_steps=40", f"optimizer.ema_decay={decay}"), show_progress=False
        )
        content = torch.load(path, weights_only=True)
        last = {name.removeprefix("experts.0."): value for name, value in content["current_model_state"].items()}
        return read_checkpoint(path).weights["0.network.out.weight"], last["network.out.weight"]

    # With decay 0 the average is the last value; with 0.999 it lags behind.
    averaged, last = both(0.0)
    torch.testing.assert_close(averaged, last, rtol=1e-6, atol=1e-8)
    averaged, last = both(0.999)
    assert (averaged - last).norm() > 1e-2 * last.norm()


def test_training_without_the_fokker_planck_term_records_no_such_loss(small_recipe, tmp_path):
    record = read_checkpoint(train(small_recipe(tmp_path, "loss.fokker_planck_weight=0"), show_progress=False)).record
    assert set(record.expert.curves["fokker_planck"]) == {0.0} and min(record.expert.curves["denoising"]) > 0


def test_diverging_loss_names_the_step_and_the_remedy(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, "optimizer.learning_rate=1e30", "optimizer.warmup_steps=0")
    with pytest.raises(InputError, match=r"loss became (nan|inf) at step \d+; .*learning_rate"):
        train(recipe, show_progress=False)


def test_progress_on_a_terminal_shows_rate_losses_and_time_left(small_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    train(small_recipe(tmp_path))
    shown = " ".join(capsys.readouterr().err.split())
    for part in ("step 60", "steps/s", "denoising", "Fokker-Planck", "min left"):
        assert part in shown
