"""Early stopping, checkpoints and the log, on real trainings and on scripted metrics."""

import csv
import errno
import io

import pytest
from training_checks import digits, linear_net, state_bytes

import minicnn as mc
from minicnn.checkpoint import durable
from minicnn.training.callbacks import csv_log
from minicnn.training.history import COLUMNS
from minicnn.training.plan import Run


class Script:
    """Stands for a model: its state is the number of the epoch."""

    def __init__(self):
        self.epoch, self.saved = 0, []

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]

    def save(self, path):
        self.saved.append((path, self.epoch))


class ScriptPlan:
    validation_data = ()


def play(callback, values, metric="val_loss"):
    """Let `callback` see these values of a metric; returns the epoch it stopped at and the run."""
    run = Run(Script(), ScriptPlan())
    callback.on_train_begin(run)
    for value in values:
        run.epoch += 1
        run.model.epoch = run.epoch
        run.history.append({"epoch": run.epoch, metric: value})
        callback.on_epoch_end(run)
        if run.stop_reason:
            break
    stopped = run.epoch
    callback.on_train_end(run)
    return stopped, run


# --- early stopping --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, values, stopped, best",
    [
        ({"patience": 1}, [3, 2, 2, 1], 3, 2),  # equal is no improvement
        ({"patience": 2}, [3, 2, 2.5, 1, 4, 4, 0], 6, 4),  # the count starts anew at the best
        ({"patience": 3}, [1, 2, 3], 3, 1),  # the epochs end first
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 2.5], 3, 1),  # by more than min_delta
        ({"patience": 2, "min_delta": 0.5}, [3, 2.4, 2.3, 1.8], 4, 4),  # since the best
        ({"patience": 1, "mode": "max"}, [1, 2, 1], 3, 2),
        ({"patience": 2}, [float("nan"), 2, float("nan"), 3], 4, 2),
    ],
)
def test_early_stopping_stops_after_patience_and_goes_back_to_the_best(
    arguments, values, stopped, best
):
    callback = mc.EarlyStopping(**arguments)
    epoch, run = play(callback, values)
    assert (epoch, callback.best_epoch, run.model.epoch) == (stopped, best, best)
    assert callback.best == values[best - 1]


def test_early_stopping_on_an_accuracy_looks_for_the_highest():
    callback = mc.EarlyStopping("val_accuracy", patience=1)
    assert play(callback, [0.5, 0.9, 0.8], "val_accuracy")[0] == 3
    assert callback.best == 0.9


def test_early_stopping_without_restore_keeps_the_last_weights():
    _, run = play(mc.EarlyStopping(patience=2, restore_best_weights=False), [1, 2, 3])
    assert run.model.epoch == 3


def test_early_stopping_says_why():
    _, run = play(mc.EarlyStopping(patience=2), [1, 2, 3])
    assert run.stop_reason == "val_loss has not improved since epoch 1 (patience 2)"


def test_early_stopping_used_again_forgets_the_first_training():
    callback = mc.EarlyStopping(patience=2)
    play(callback, [1, 2, 3])
    assert play(callback, [5, 6, 4, 7])[0] == 4
    assert callback.best == 4


def test_early_stopping_in_fit_leaves_the_weights_of_the_best_epoch():
    (x, y), validation = digits()
    model = linear_net()
    seen = {}

    class Keep(mc.Callback):
        def on_epoch_end(self, run):
            seen[run.epoch] = state_bytes(run.model)

    stopping = mc.EarlyStopping(patience=2)
    optimizer = mc.SGD(model.parameters(), lr=3.0)  # bounces about
    history = model.fit(x, y, 40, 32, optimizer=optimizer, validation_data=validation,
                        callbacks=[stopping, Keep()])  # fmt: skip
    assert len(history) == stopping.best_epoch + 2 < 40
    assert history.best()["epoch"] == stopping.best_epoch
    assert state_bytes(model) == seen[stopping.best_epoch] != seen[len(history)]


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"patience": 0}, ValueError, "patience is 0"),
        ({"patience": 1.5}, TypeError, "patience is 1.5"),
        ({"min_delta": -1}, ValueError, "min_delta is -1"),
        ({"mode": "low"}, ValueError, "mode is 'low'"),
        ({"monitor": "seconds"}, ValueError, "use mode='min' or 'max'"),
        ({"restore_best_weights": 1}, TypeError, "restore_best_weights is 1"),
        ({"verbose": 1}, TypeError, "verbose"),
    ],
)
def test_early_stopping_with_a_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mc.EarlyStopping(**arguments)


@pytest.mark.parametrize("make", [mc.EarlyStopping, lambda: mc.Checkpoint("never-written")])
def test_monitoring_validation_without_such_data_is_refused_before_training(make):
    (x, y), _ = digits()
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="there is no validation data.*monitor='loss'"):
        model.fit(x, y, optimizer=optimizer, callbacks=[make()])
    assert optimizer.steps == 0


def test_monitoring_an_unknown_column_names_those_there_are():
    with pytest.raises(ValueError, match="expected one of epoch, val_loss"):
        play(mc.EarlyStopping("top5_accuracy"), [1.0])


# --- checkpoints -----------------------------------------------------------------------------


def test_checkpoint_of_the_best_saves_at_improvements_only():
    _, run = play(mc.Checkpoint("m"), [3, 4, 2, 2, 1])
    assert run.model.saved == [("m", 1), ("m", 3), ("m", 5)]


def test_checkpoint_of_every_epoch_saves_each_under_its_name():
    _, run = play(mc.Checkpoint("m-{epoch}", save_best_only=False), [3, 4, 2])
    assert run.model.saved == [("m-1", 1), ("m-2", 2), ("m-3", 3)]


def test_checkpoint_in_fit_loads_as_the_best_model(tmp_path):
    (x, y), validation = digits()
    model = linear_net()
    checkpoint = mc.Checkpoint(tmp_path / "best.safetensors", "val_accuracy")
    history = model.fit(x, y, 12, 32, optimizer=mc.SGD(model.parameters(), lr=3.0),
                        validation_data=validation, callbacks=[checkpoint])  # fmt: skip
    loaded = mc.load(tmp_path / "best.safetensors").evaluate(*validation)
    assert loaded["accuracy"] == history.best("val_accuracy")["val_accuracy"]


@pytest.mark.parametrize("checks", [[], [mc.StopOnNaN()]])
def test_checkpoint_after_divergence_is_that_of_the_last_good_epoch(checks, tmp_path):
    (x, y), _ = digits()
    path = tmp_path / "last.safetensors"

    class Spoil(mc.Callback):
        def on_batch_end(self, run):
            if run.epoch == 2 and run.batch == run.batches:
                run.model.flat_parameters[0] = float("nan")

    model = linear_net()
    with pytest.raises(mc.DivergedError):
        model.fit(
            x, y, 3, optimizer=mc.SGD(model.parameters(), lr=0.1),
            callbacks=[mc.Checkpoint(path, save_best_only=False), Spoil(), *checks],
        )  # fmt: skip
    assert state_bytes(mc.load(path)) == state_bytes(model)  # which was put back as well


def test_checkpoint_on_a_full_disk_stops_the_training_and_keeps_the_old_file(tmp_path, monkeypatch):
    (x, y), _ = digits()
    path = tmp_path / "model.safetensors"
    model = linear_net()
    model.save(path)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        model.fit(x, y, optimizer=mc.SGD(model.parameters(), lr=0.1),
                  callbacks=[mc.Checkpoint(path, save_best_only=False)])  # fmt: skip
    assert durable.is_disk_full(caught.value) and caught.value.filename == str(path)
    assert path.read_bytes() == before


def test_checkpoint_into_a_missing_folder_is_refused_before_training(tmp_path):
    (x, y), _ = digits()
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    callback = mc.Checkpoint(tmp_path / "no" / "model.safetensors", "loss")
    with pytest.raises(FileNotFoundError, match="no"):
        model.fit(x, y, optimizer=optimizer, callbacks=[callback])
    assert optimizer.steps == 0


# --- the log ---------------------------------------------------------------------------------


def log_training(path, epochs, validation=True):
    (x, y), validation_data = digits()
    model = linear_net()
    history = model.fit(
        x, y, epochs, optimizer=mc.SGD(model.parameters(), lr=0.1), callbacks=[mc.CSVLog(path)],
        validation_data=validation_data if validation else None,
    )  # fmt: skip
    with open(path, newline="") as file:
        return history, list(csv.DictReader(file))


def test_csv_log_holds_the_history_exactly(tmp_path):
    history, rows = log_training(tmp_path / "log.csv", 3)
    assert list(rows[0]) == list(COLUMNS)
    assert [{k: float(v) for k, v in row.items()} for row in rows] == list(history)


def test_csv_log_without_validation_has_no_columns_for_it(tmp_path):
    _, rows = log_training(tmp_path / "log.csv", 1, validation=False)
    assert list(rows[0]) == [n for n in COLUMNS if not n.startswith("val_")]


def test_csv_log_is_complete_after_every_epoch(tmp_path):
    path, lengths = tmp_path / "log.csv", []

    class Read(mc.Callback):
        def on_epoch_end(self, run):
            lengths.append(path.read_bytes().count(b"\n"))

    (x, y), _ = digits()
    model = linear_net()
    model.fit(x, y, 3, optimizer=mc.SGD(model.parameters(), lr=0.1),
              callbacks=[mc.CSVLog(path), Read()])  # fmt: skip
    assert lengths == [2, 3, 4]


def test_csv_log_on_a_full_disk_stops_the_training_naming_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv_log.os, "fsync", full)
    monkeypatch.setattr(durable, "write_bytes", lambda path, data: None)  # the header
    with pytest.raises(OSError, match="No space left.*log.csv"):
        log_training(tmp_path / "log.csv", 1)


def test_csv_log_written_in_parts_is_whole(tmp_path, monkeypatch):
    class Slow(io.FileIO):
        def write(self, data):
            return super().write(bytes(data[:7]))

    monkeypatch.setattr(csv_log.io, "FileIO", Slow)
    assert len(log_training(tmp_path / "log.csv", 2)[1]) == 2


def test_csv_log_of_a_new_training_replaces_the_old_one(tmp_path):
    log_training(tmp_path / "log.csv", 3)
    assert len(log_training(tmp_path / "log.csv", 1)[1]) == 1


class Resumed:
    """A run that goes on after epoch 2."""

    epoch = 2
    history = mc.History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])

    @staticmethod
    def columns():
        return ["epoch", "loss", "seconds"]


@pytest.mark.parametrize(
    "found, kept",
    [
        ("1,0.5,7\n2,0.25,8\n3,0.125,9\n", "1,0.5,7\n2,0.25,8\n"),  # later rows go
        ("1,0.5,7\n2,0.2", "1,0.5,7\n2,0.25,\n"),  # half a row is made whole
        ("1,0.5,7\n2,0.25,8", "1,0.5,7\n2,0.25,\n"),  # 8 may be the start of 8.5
        ("1,0.5,7\n2,0.25,8\n3,0.1", "1,0.5,7\n2,0.25,8\n"),
        ("garbage\n,,\n2,0.25,8\n", "1,0.5,\n2,0.25,8\n"),
        ("", "1,0.5,\n2,0.25,\n"),
    ],
)
def test_csv_log_of_a_resumed_run_keeps_what_it_builds_on(tmp_path, found, kept):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,seconds\n" + found)
    log = mc.CSVLog(path)
    log.on_train_begin(Resumed())
    log.close(Resumed())
    assert path.read_text() == "epoch,loss,seconds\n" + kept


def test_csv_log_of_a_resumed_run_without_the_file_writes_it_from_the_history(tmp_path):
    log = mc.CSVLog(tmp_path / "log.csv")
    log.on_train_begin(Resumed())
    log.close(Resumed())
    assert (tmp_path / "log.csv").read_text() == "epoch,loss,seconds\n1,0.5,\n2,0.25,\n"
