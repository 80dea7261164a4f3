"""`minicnn train`: the options that decide how it learns, one by one."""

import csv
import itertools
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data.photos import make_photos

import minicnn as mc
from minicnn import checkpoint
from minicnn.cli.pace import Pace, Stopwatch
from minicnn.cli.prepare import seconds_of
from minicnn.cli.progress import Correction
from minicnn.cli.text import duration
from minicnn.runs import RunFolder

from .conftest import FAST, blocks, only_object


def test_ema_is_what_the_run_keeps_and_the_weights_are_in_the_state(data, run, command):
    code, _, _ = command("train", data, *FAST, "--ema", "0.9", "--quiet")
    assert code == 0
    averaged = Path("runs/train-002")
    plain, average = (mc.load(r / "model.safetensors").flat_parameters for r in (run, averaged))
    assert plain.tobytes() != average.tobytes()
    assert json.loads((averaged / "args.json").read_text())["ema"] == 0.9
    # The training went on as without an average: its weights are in the state file.
    tensors, _ = checkpoint.read(averaged / "last.safetensors")
    trained = next(a for name, a in tensors.items() if name.endswith("/weights/parameters.0"))
    last, _ = checkpoint.read(run / "last.safetensors")
    expected = b"".join(last[f"model/{name}"].tobytes() for name in
                        ("1.weight", "1.bias", "3.weight", "3.bias"))  # fmt: skip
    assert trained.tobytes() == expected


def settings_of(folder):
    return json.loads((Path(folder) / "args.json").read_text())


def rates(folder):
    """The learning rate of each epoch's last step."""
    text = (Path(folder) / "results.csv").read_text()
    return [float(row["lr"]) for row in csv.DictReader(text.splitlines())]


# --- the learning rate -----------------------------------------------------------------------


def test_lr_auto_finds_a_rate_that_is_shown_kept_and_used(data, command):
    code, _, err = command("train", data, *FAST, "--lr", "auto")
    found = settings_of("runs/train-001")["lr"]
    assert code == 0 and 1e-4 < found < 1
    assert f"  lr      {found:g}, from the curve of the loss over " in err
    # The search leaves no trace: the run is that of somebody who typed the rate.
    command("train", data, *FAST, "--lr", found, "--quiet")
    for name in ("args.json", "model.safetensors", "last.safetensors", "summary.json"):
        first, second = (Path(f"runs/train-00{i}", name).read_bytes() for i in (1, 2))
        assert first == second, name


def test_lr_auto_in_a_dry_run_names_the_rate_and_writes_nothing(data, command):
    code, out, _ = command("train", data, *FAST, "--lr", "auto", "--dry-run", "--json")
    assert code == 0 and 1e-4 < only_object(out)["settings"]["lr"] < 1
    assert not Path("runs").exists()


def test_lr_auto_of_a_resumed_run_is_the_rate_that_was_found(data, command, monkeypatch):
    words = ("train", data, *FAST, "--lr", "auto", "--quiet")
    command(*words)
    find_nothing(monkeypatch, AssertionError("searched again"))
    (Path("runs/train-001") / "summary.json").unlink()
    assert command(*words, "--resume")[0] == 0


def find_nothing(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("minicnn.cli.prepare.lr_find", fail)


def test_lr_auto_that_finds_none_ends_with_2_and_makes_no_folder(data, command, monkeypatch):
    find_nothing(monkeypatch, ValueError("the loss did not fall"))
    code, _, err = command("train", data, *FAST, "--lr", "auto")
    assert code == 2 and not Path("runs").exists()
    assert "minicnn: error: --lr auto: the loss did not fall\nminicnn: give a rate" in err


@pytest.mark.parametrize("rate", ["0", "-1", "automatic", "nan"])
def test_lr_that_is_none_ends_with_2(data, command, rate):
    code, _, err = command("train", data, "--lr", rate)
    assert code == 2 and "expected a number above 0, or auto" in err


# --- the warm-up -----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "plateau", "constant"])
def test_warmup_of_any_schedule_reaches_the_full_rate_after_its_epochs(data, command, schedule):
    code, _, _ = command("train", data, "--arch", "mlp", "--epochs", "8", "--batch-size", "4",
                         "--schedule", schedule, "--warmup", "3", "--lr", "0.01",
                         "--quiet")  # fmt: skip
    assert code == 0
    found = rates("runs/train-001")
    # After an epoch of 12 steps it stands one step below what the line says.
    assert found[0] < found[1] < found[2] + 1e-9 and found[0] <= 0.0055
    if schedule in ("constant", "plateau"):
        assert found[3:] == [0.01] * 5
    else:
        assert found[2] == pytest.approx(0.01, rel=0.1) and found[-1] < 1e-3
        assert found[3] > found[4] > found[5]


def test_warmup_changes_where_onecycle_peaks(data, command):
    words = ("train", data, "--arch", "mlp", "--epochs", "10", "--batch-size", "4", "--quiet")
    command(*words)
    command(*words, "--warmup", "3")
    command(*words, "--warmup", "6")
    plain, same, late = (rates(f"runs/train-00{i}") for i in (1, 2, 3))
    assert plain == same  # the rise is 0.3 of the epochs by itself
    assert plain.index(max(plain)) == 2 and late.index(max(late)) == 5


def test_warmup_that_leaves_no_epochs_ends_with_2(data, command):
    code, _, err = command("train", data, *FAST, "--warmup", "2")
    assert code == 2 and "--warmup 2 leaves nothing of 2 epochs" in err


# --- the cost and the time -------------------------------------------------------------------


def test_cost_is_measured_by_steps_that_leave_no_trace(data, command, real_pace):
    x, y = blocks(100)
    np.savez(data, x=x, y=y)
    words = ("train", data, "--arch", "cnn-m", "--epochs", "2", "--batch-size", "16")
    code, _, err = command(*words)  # with dropout and batch normalisation
    assert code == 0
    (line,) = [line for line in err.splitlines() if line.startswith("  cost ")]
    time = r"(about \S+ s|\S+ s to \S+ s) an epoch, \S+ s (to \S+ s )?in all"
    assert re.search(rf"multiply-adds an image  \S+ .B  {time}", line)
    command(*words, "--quiet")  # nobody sees the cost, so it is not measured
    for name in ("model.safetensors", "last.safetensors", "summary.json"):
        first, second = (Path(f"runs/train-00{i}", name).read_bytes() for i in (1, 2))
        assert first == second, name


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([9, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),  # the first one also allocates
        ([9, 1, 1, 1, 1, 20], [1, 1, 1, 1, 20]),
        ([9, 2, 2, 2, 10, 2, 2, 2, 2, 2, 2], [2, 6, 2, 2, 2]),
        ([9, 3, 4], [3, 4]),
        ([5], [5]),
    ],
)
def test_pace_is_measured_in_stretches_of_steps(steps, expected):
    watch = Stopwatch()
    watch.times = list(itertools.accumulate(steps, initial=100.0))
    assert watch.probes() == pytest.approx(expected)


def test_one_stretch_that_was_held_up_widens_the_forecast_but_does_not_move_it(
    data, command, monkeypatch, real_pace
):
    monkeypatch.setattr(Stopwatch, "probes", lambda watch: [0.5, 0.5, 0.5, 0.5, 4.0])
    code, out, _ = command("train", data, *FAST, "--dry-run", "--json")
    cost = only_object(out)["cost"]
    assert code == 0
    assert cost["seconds_per_step"] == 0.5 and cost["seconds_per_epoch"] == pytest.approx(1.5, 0.1)
    assert cost["seconds_per_epoch_high"] == pytest.approx(8 * cost["seconds_per_epoch_low"])
    _, out, _ = command("train", data, *FAST, "--dry-run")
    assert re.search(r"1\.5 s to 12 s an epoch, 3 s to 24 s in all \(other programs", out)


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        (Pace(50.0, 0.0), "not as forecast: about "),  # far slower than it turns out to be
        (Pace(1e-4, 0.0, 0.5, 2.0), None),  # far faster, but over in a second
    ],
)
def test_forecast_that_was_far_off_is_corrected_after_the_first_epoch(
    data, command, monkeypatch, pace, said
):
    monkeypatch.setattr("minicnn.cli.prepare.measure", lambda job: pace)
    code, _, err = command("train", data, "--arch", "mlp", "--epochs", "4")
    lines = err.splitlines()
    found = [k for k, line in enumerate(lines) if "not as forecast" in line]
    assert code == 0 and len(found) == (said is not None)
    if found:
        assert "epoch 1/4" in lines[found[0] - 1] and "epoch 2/4" in lines[found[0] + 1]


def test_forecast_that_holds_is_not_corrected():
    said = []
    console = SimpleNamespace(say=said.append)
    for seconds in (60.0, 140.0, 160.0):
        rows = SimpleNamespace(history=[{"seconds": seconds}], epoch=2,
                               plan=SimpleNamespace(epochs=5))  # fmt: skip
        once = Correction(console, 80.0, 100.0)
        once.on_epoch_begin(rows)
        once.on_epoch_begin(rows)
    assert said == [
        "  cost    the epoch took 2.7 min, not as forecast: about 10.7 min for the rest"
    ]


def test_cost_of_data_that_cannot_be_trained_on_leaves_the_error_to_the_training(
    data, command, real_pace
):
    code, _, err = command("train", data, *FAST, "--optimizer", "sgd", "--lr", "1e30")
    assert code == 5 and "time unknown" in err and "training diverged in epoch 1" in err


@pytest.fixture
def slow_epochs(monkeypatch):
    """For the time budget, every epoch takes 20 seconds."""
    seconds = itertools.count(0, 20)
    clock = SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr("minicnn.training.callbacks.time_budget.time", clock)


def test_time_budget_ends_the_run_in_time_and_says_so(data, command, slow_epochs):
    words = ("train", data, "--arch", "mlp", "--epochs", "9", "--time-budget", "1")
    code, out, err = command(*words, "--json")
    reason = "the time budget of 1 min leaves no room for another epoch"
    assert code == 0 and f"  stopped {reason}\n" in err
    result = only_object(out)
    # Two epochs take 40 s, and some are kept for what follows the training.
    assert (result["epochs"], result["stopped"]) == (2, reason)
    run = RunFolder("runs/train-001")
    assert run.complete and run.model.exists() and settings_of(run.folder)["time_budget"] == 1
    assert json.loads(run.summary.read_text())["stopped"] == reason


def finished_again(run, epoch_seconds):
    """The run as if it had been killed after its last epoch, each of which took so long."""
    run.summary.unlink()
    lines = [line.split(",") for line in run.results.read_text().splitlines()]
    seconds = lines[0].index("seconds")
    for row in lines[1:]:
        row[seconds] = str(epoch_seconds)
    run.results.write_text("".join(",".join(row) + "\n" for row in lines))


def test_time_budget_of_a_resumed_run_counts_the_epochs_before(
    data, command, slow_epochs, monkeypatch
):
    words = ("train", data, "--arch", "mlp", "--epochs", "9", "--batch-size", "48")
    command(*words, "--time-budget", "1", "--quiet")
    run = RunFolder("runs/train-001")
    before = run.model.read_bytes(), run.last.read_bytes(), run.summary.read_bytes()
    monkeypatch.setattr("minicnn.cli.prepare.measure", lambda job: Pace(20.0, 0.0))  # an epoch
    finished_again(run, 20.0)
    code, _, err = command("train", "--resume")
    assert code == 0 and "epoch 3/9" not in err and "  stopped the time budget of 1 min" in err
    assert before == (run.model.read_bytes(), run.last.read_bytes(), run.summary.read_bytes())
    finished_again(run, 12.0)
    code, _, err = command("train", "--resume")
    assert code == 0 and "epoch 3/9" in err and "epoch 4/9" not in err


def test_run_without_a_stop_says_none_and_early_stopping_says_why(data, command):
    _, out, _ = command("train", data, *FAST, "--json")
    assert only_object(out)["stopped"] is None
    _, out, err = command("train", data, "--arch", "mlp", "--epochs", "50", "--patience", "2",
                          "--json", "--lr", "0.02", "--batch-size", "8")  # fmt: skip
    assert "has not improved since epoch" in only_object(out)["stopped"]
    assert "  stopped val_loss has not improved" in err


def test_time_budget_below_one_epoch_ends_with_2_and_makes_no_folder(data, command, monkeypatch):
    monkeypatch.setattr("minicnn.cli.prepare.measure", lambda job: Pace(30.0, 1.0))
    code, _, err = command("train", data, *FAST, "--time-budget", "1")  # 3 steps
    assert code == 2 and not Path("runs").exists()
    assert re.search("--time-budget 1 leaves [345]. s for training, .* takes about 1.5 min", err)


def test_time_budget_that_cuts_the_schedule_off_is_noted(data, command, monkeypatch):
    monkeypatch.setattr("minicnn.cli.prepare.measure", lambda job: Pace(3.0, 1.0))
    code, _, err = command("train", data, "--arch", "mlp", "--batch-size", "16", "--epochs", "9",
                           "--time-budget", "1", "--quiet")  # fmt: skip
    assert code == 0
    # Five, or fewer where the start took its time.
    assert re.search(
        r"note: --time-budget 1 is over after about (\d) of 9 epochs; --epochs \1 ", err
    )


@pytest.mark.parametrize(
    "content, seconds",
    [
        (None, 0),
        ("", 0),
        ("epoch,seconds\n1,2.5\n2,0.5\n", 3),
        ("epoch,seconds\n1,\n2,0.5\n", 0.5),
        ("epoch,seconds\n1,x\n", 0),
        ("epoch,loss\n1,2\n", 0),
        ("epoch,seconds\n1\n", 0),
    ],
)
def test_seconds_of_a_run_are_those_of_its_log(tmp_path, content, seconds):
    run = RunFolder(tmp_path)
    if content is not None:
        run.results.write_text(content)
    assert seconds_of(run) == seconds


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0123, "0.012 s"), (9.94, "9.9 s"), (12.3, "12 s"), (59.6, "1.0 min"), (3599, "1.0 h"),
     (200, "3.3 min"), (9000, "2.5 h")],
)  # fmt: skip
def test_duration_has_two_digits_or_so(seconds, text):
    assert duration(seconds) == text


# --- photos ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--class-weight", "balanced"),
        ("--label-smoothing", "0.1"),
        ("--patience", "1", "--lr", "0.02"),
        ("--ema", "0.9"),
        ("--warmup", "1", "--schedule", "cosine"),
        ("--lr", "auto"),
        ("--time-budget", "5"),
        ("--clip-norm", "1"),
    ],
)
def test_every_option_of_the_training_works_on_uneven_photos(
    tmp_path, monkeypatch, command, real_pace, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    make_photos(tmp_path / "photos", 12)
    for name in sorted(os.listdir("photos/red"))[4:]:
        os.unlink(f"photos/red/{name}")
    code, out, _ = command("train", "photos", "--arch", "mlp", "--epochs", "8", "--batch-size",
                           "8", "--image-size", "8", "--json", *words)  # fmt: skip
    assert code == 0 and only_object(out)["val_accuracy"] == 1.0
    name = words[0][2:].replace("-", "_")
    assert settings_of("runs/train-001")[name] not in (None, "none", "auto")
