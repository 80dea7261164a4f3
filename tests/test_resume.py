"""A resumed run equals one that was never stopped, byte for byte; another run is refused."""

import errno
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_checks import digits, folder_bytes, small_net, state_bytes

import minicnn as mc
from minicnn import checkpoint
from minicnn.checkpoint import durable
from minicnn.schedulers import (
    CosineAnnealingLR,
    LinearWarmup,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

EPOCHS, BATCHES = 5, 4  # of 60 samples in batches of 16: the last one is short


class StopAt(mc.Callback):
    """Ctrl-C after a step, or with batch None at the end of an epoch before it is written."""

    def __init__(self, epoch, batch):
        self.epoch, self.batch = epoch, batch

    def on_batch_end(self, run):
        if (run.epoch, run.batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt

    def on_epoch_end(self, run):
        if self.batch is None and run.epoch == self.epoch:
            raise KeyboardInterrupt


def momentum(params):
    optimizer = mc.SGD(params, lr=0.05, momentum=0.9)
    return optimizer, StepLR(optimizer, 2), {}


def nesterov_one_cycle(params):
    optimizer = mc.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    return optimizer, OneCycleLR(optimizer, 0.1, EPOCHS * BATCHES), {"clip_norm": 1.0}


def adam(params):
    optimizer = mc.Adam(params, lr=0.01)
    loss = mc.CrossEntropyLoss(weight=np.arange(1, 11), label_smoothing=0.1)
    return optimizer, CosineAnnealingLR(optimizer, EPOCHS), {"loss": loss}


def adamw_warmup(params):
    optimizer = mc.AdamW(params, lr=0.01)
    after = CosineAnnealingLR(optimizer, 14, interval="batch")
    return optimizer, LinearWarmup(optimizer, 6, after=after), {"drop_last": True}


def plateau(params):
    optimizer = mc.SGD(params, lr=0.5, momentum=0.5)
    return optimizer, ReduceLROnPlateau(optimizer, patience=0), {"shuffle": False}


def early_stopping(params):
    optimizer = mc.SGD(params, lr=3.0)  # bounces about, so that it stops early
    return optimizer, None, {"callbacks": [mc.EarlyStopping(patience=2)], "seed": 3}


def averaged(params):
    optimizer = mc.SGD(params, lr=0.1, momentum=0.9)
    stopping = mc.EarlyStopping(patience=EPOCHS)  # goes back to the best average at the end
    return optimizer, None, {"callbacks": [mc.EMA(0.9), stopping]}


def augmented(params):
    optimizer = mc.SGD(params, lr=0.05, momentum=0.9)
    chain = mc.augment.Compose(mc.augment.preset("strong", 1), mc.augment.MixUp(0.5, p=0.7))
    return optimizer, None, {"augment": chain}


RECIPES = [
    momentum, nesterov_one_cycle, adam, adamw_warmup, plateau, early_stopping, averaged, augmented,
]  # fmt: skip


def train(folder, recipe=momentum, stop=None, epochs=EPOCHS, data=None, **changes):
    """One call of fit with everything that writes files; the model is made anew each time."""
    training, validation = data or digits(60, 40)
    model = small_net(changes.pop("model_seed", 0))
    optimizer, schedule, arguments = recipe(model.build((1, 8, 8)).parameters())
    files = [mc.Checkpoint(folder / "best.safetensors"), mc.CSVLog(folder / "log.csv")]
    interrupts = [StopAt(*stop)] if stop else []
    arguments["callbacks"] = [*arguments.get("callbacks", []), *files, *interrupts]
    arguments |= {"schedule": schedule, "validation_data": validation, **changes}
    history = model.fit(*training, epochs, 16, optimizer=optimizer,
                        state_file=folder / "last.safetensors", **arguments)  # fmt: skip
    model.save(folder / "final.safetensors")
    return model, history


def interrupt(folder, recipe=momentum, stop=(3, 2), **arguments):
    with pytest.raises(KeyboardInterrupt):
        train(folder, recipe, stop, **arguments)


@pytest.fixture
def folders(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "parts"


# --- the same bytes --------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_resume_after_ctrl_c_gives_the_files_of_an_uninterrupted_run(recipe, folders):
    whole, parts = folders
    _, expected = train(whole, recipe)
    interrupt(parts, recipe, (1, 1))
    interrupt(parts, recipe, (2, 3), resume=True)
    interrupt(parts, recipe, (3, None), resume=True)
    _, history = train(parts, recipe, resume=True)
    assert folder_bytes(parts) == folder_bytes(whole)
    assert len(folder_bytes(whole)) == 4
    assert history.to_json(timings=False) == expected.to_json(timings=False)


def test_early_stopping_recipe_really_stops_early(tmp_path):
    _, history = train(tmp_path, early_stopping, epochs=40)
    assert len(history) < 40


def test_resume_when_early_stopping_ended_the_run_returns_its_result(folders):
    whole, parts = folders
    _, expected = train(whole, early_stopping, epochs=40)
    for resume in (False, True):  # the second call finds everything done
        _, history = train(parts, early_stopping, epochs=40, resume=resume)
    assert folder_bytes(parts) == folder_bytes(whole)
    assert len(history) == len(expected)


def test_resume_with_more_epochs_equals_a_run_of_that_many(folders):
    whole, parts = folders
    train(whole, adam, epochs=4)
    train(parts, adam, epochs=2)
    train(parts, adam, epochs=4, resume=True)
    assert folder_bytes(parts) == folder_bytes(whole)


def test_resume_with_another_number_of_threads_gives_the_same_files(folders, keep_threads):
    whole, parts = folders
    mc.set_num_threads(1)
    train(whole)
    interrupt(parts)
    mc.set_num_threads(3)
    train(parts, resume=True)
    assert folder_bytes(parts) == folder_bytes(whole)


def test_state_file_is_written_before_the_first_epoch(tmp_path):
    interrupt(tmp_path, stop=(1, 1))
    _, metadata = checkpoint.read(tmp_path / "last.safetensors")
    assert metadata["epoch"] == 0 and metadata["history"] == []


def test_state_file_is_that_of_the_last_whole_epoch(tmp_path):
    interrupt(tmp_path, stop=(3, 2))
    assert checkpoint.read(tmp_path / "last.safetensors")[1]["epoch"] == 2


def test_state_file_on_a_full_disk_is_that_of_the_epoch_before(tmp_path, monkeypatch):
    class FillDisk(mc.Callback):
        def on_epoch_end(self, run):
            if run.epoch == 3:
                monkeypatch.setattr(durable.os, "write", full)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left.*last.safetensors") as caught:
        train(tmp_path, callbacks=[FillDisk()])
    assert durable.is_disk_full(caught.value)
    assert checkpoint.read(tmp_path / "last.safetensors")[1]["epoch"] == 2


# Each spoils one part of the state: were the part not needed, the files would still be equal.


def zero_momentum(tensors, metadata):
    tensors["optimizer/momentum_buffer"][:] = 0


def change_statistics(tensors, metadata):
    tensors["model/1.running_mean"] += 1


def forget_dropout(tensors, metadata):
    metadata["generator_steps"] = {"4": 0}


def forget_schedule(tensors, metadata):
    metadata["schedule"]["t"] = 0


def change_best(tensors, metadata):
    metadata["callbacks"][0]["best"] = 0.0  # nothing will be better


def forget_epoch(tensors, metadata):
    metadata["epoch"] = 1


def change_history(tensors, metadata):
    metadata["history"][0]["loss"] = 1.0


def one_weight(tensors, metadata):
    tensors["model/0.weight"].flat[0] += np.float32(1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        zero_momentum,
        change_statistics,
        forget_dropout,
        forget_schedule,
        change_best,
        forget_epoch,
        change_history,
        one_weight,
    ],
)
def test_comparison_with_a_part_of_the_state_lost_notices_it(spoil, folders):
    whole, parts = folders
    train(whole)
    interrupt(parts)
    tensors, metadata = checkpoint.read(parts / "last.safetensors")
    spoil(tensors, metadata)
    checkpoint.write(parts / "last.safetensors", tensors, metadata)
    train(parts, resume=True)
    assert folder_bytes(parts) != folder_bytes(whole)


def zero_trained_weights(tensors, metadata):
    tensors["callback.0/weights/parameters.0"][:] = 0


def change_averaged_statistics(tensors, metadata):
    tensors["callback.0/weights/buffers.1.running_var"] += 1


def forget_updates(tensors, metadata):
    metadata["callbacks"][0]["updates"] = 0


@pytest.mark.parametrize(
    "spoil", [one_weight, zero_trained_weights, change_averaged_statistics, forget_updates]
)
def test_comparison_with_a_part_of_the_average_lost_notices_it(spoil, folders):
    whole, parts = folders
    train(whole, averaged)
    interrupt(parts, averaged)
    tensors, metadata = checkpoint.read(parts / "last.safetensors")
    spoil(tensors, metadata)
    checkpoint.write(parts / "last.safetensors", tensors, metadata)
    train(parts, averaged, resume=True)
    assert folder_bytes(parts) != folder_bytes(whole)


# --- what is refused -------------------------------------------------------------------------


def refuse(folder, *messages, **changes):
    before = folder_bytes(folder)
    with pytest.raises(mc.CheckpointError) as caught:
        train(folder, resume=True, **changes)
    for message in messages:
        assert message in str(caught.value)
    assert folder_bytes(folder) == before


def other_lr(params):
    return mc.SGD(params, lr=0.04, momentum=0.9), momentum(params)[1], {}


def other_schedule(params):
    optimizer = mc.SGD(params, lr=0.05, momentum=0.9)
    return optimizer, StepLR(optimizer, 3), {}


def other_decay(params):
    optimizer, schedule, arguments = averaged(params)
    return optimizer, schedule, {"callbacks": [mc.EMA(0.5), *arguments["callbacks"][1:]]}


def test_resume_with_another_decay_of_the_average_is_refused(tmp_path):
    interrupt(tmp_path, averaged)
    refuse(
        tmp_path,
        "it has [{'decay': 0.9, ",
        "this run has [{'type': 'EMA', 'decay': 0.5",
        recipe=other_decay,
    )


def test_resume_with_averages_of_another_shape_is_refused(tmp_path):
    interrupt(tmp_path, averaged)
    tensors, metadata = checkpoint.read(tmp_path / "last.safetensors")
    name = "callback.0/weights/parameters.0"
    tensors[name] = tensors[name][1:]
    checkpoint.write(tmp_path / "last.safetensors", tensors, metadata)
    refuse(tmp_path, "the weights of EMA: 1 of its entries", recipe=averaged)


def other_loss(params):
    return *momentum(params)[:2], {"loss": mc.CrossEntropyLoss(label_smoothing=0.1)}


@pytest.mark.parametrize(
    "message, changes",
    [
        ("seed: it has 0, this run has 1", {"seed": 1}),
        ("shuffle: it has True, this run has False", {"shuffle": False}),
        ("drop_last: it has False, this run has True", {"drop_last": True}),
        ("clip_norm: it has None, this run has 1.0", {"clip_norm": 1}),
        ("augment: it has None, this run has {'transforms'", {"augment": "light"}),
        ("optimizer.lr: it has 0.05, this run has 0.04", {"recipe": other_lr}),
        ("optimizer.type: it has 'SGD', this run has 'Adam'", {"recipe": adam}),
        ("schedule.step_size: it has 2, this run has 3", {"recipe": other_schedule}),
        ("loss.label_smoothing: it has 0.0, this run has 0.1", {"recipe": other_loss}),
        ("model.seed: it has 0, this run has 7", {"model_seed": 7}),
        ("validation_data", {"validation_data": None, "callbacks": []}),
        ("2 epochs are done already", {"epochs": 1}),
    ],
)
def test_resume_with_another_argument_is_refused(message, changes, tmp_path):
    interrupt(tmp_path)
    refuse(tmp_path, message, **changes)


def test_resume_with_several_differences_lists_them_all(tmp_path):
    interrupt(tmp_path)
    refuse(tmp_path, "seed: it has 0", "clip_norm: it has None", "optimizer.lr: it has",
           seed=1, clip_norm=2.0, recipe=other_lr)  # fmt: skip


@pytest.mark.parametrize("which", ["training", "validation"])
@pytest.mark.parametrize("part", ["x", "y"])
def test_resume_with_one_changed_value_in_the_data_is_refused(which, part, tmp_path):
    interrupt(tmp_path)
    data = digits(60, 40)
    x, y = (array.copy() for array in data[which == "validation"])
    if part == "x":
        x[7, 0, 3, 3] ^= 1
    else:
        y[7] = (y[7] + 1) % 10
    changed = ((x, y), data[1]) if which == "training" else (data[0], (x, y))
    name = "data.sha256" if which == "training" else "validation_data.sha256"
    refuse(tmp_path, name, data=changed)


def test_resume_with_the_same_data_in_another_layout_is_accepted(folders):
    whole, parts = folders
    train(whole)
    interrupt(parts)
    (x, y), validation = digits(60, 40)
    train(parts, resume=True, data=((np.asfortranarray(x), y.astype(np.uint8)), validation))
    assert folder_bytes(parts) == folder_bytes(whole)


def test_resume_from_a_model_file_is_refused(tmp_path):
    small_net().build((1, 8, 8)).save(tmp_path / "last.safetensors")
    refuse(tmp_path, "holds no training state")


def test_resume_from_a_damaged_file_is_refused(tmp_path):
    interrupt(tmp_path)
    path = tmp_path / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    refuse(tmp_path, str(path))


@pytest.mark.parametrize("name", ["epoch", "optimizer", "generator_steps", "history", "callbacks"])
def test_resume_from_a_file_with_a_part_missing_is_refused(name, tmp_path):
    interrupt(tmp_path)
    tensors, metadata = checkpoint.read(tmp_path / "last.safetensors")
    del metadata[name]
    checkpoint.write(tmp_path / "last.safetensors", tensors, metadata)
    refuse(tmp_path, "last.safetensors")


def test_resume_without_the_file_says_which(tmp_path):
    with pytest.raises(FileNotFoundError, match="last.safetensors"):
        train(tmp_path, resume=True)


def test_resume_without_a_state_file_is_refused():
    model = small_net().build((1, 8, 8))
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="no state_file to resume from"):
        model.fit(*digits(60, 40)[0], optimizer=optimizer, resume=True)


def test_load_of_a_state_file_says_that_it_is_no_model(tmp_path):
    interrupt(tmp_path)
    with pytest.raises(mc.CheckpointError, match="holds no architecture"):
        mc.load(tmp_path / "last.safetensors")


# --- the state of a user's own callback ------------------------------------------------------


class Average(mc.Callback):
    """Keeps arrays, numbers without a finite value, and text."""

    def __init__(self):
        self.sums, self.lowest, self.note = {}, float("inf"), ""

    def on_epoch_end(self, run):
        for name, array in run.model.state_dict().items():
            if array.dtype == np.float32:
                self.sums[name] = self.sums.get(name, 0) + array
        self.note += f"{run.epoch} "

    def state(self):
        return {"sums": self.sums, "lowest": self.lowest, "note": self.note}

    def load_state(self, state):
        self.sums, self.lowest, self.note = dict(state["sums"]), state["lowest"], state["note"]


def test_resume_brings_back_the_state_of_any_callback(folders):
    whole, parts = folders
    expected, resumed = Average(), Average()
    train(whole, callbacks=[expected])
    interrupt(parts, callbacks=[Average(), StopAt(3, 2)])
    train(parts, callbacks=[resumed], resume=True)
    assert (resumed.lowest, resumed.note) == (float("inf"), expected.note)
    assert {k: v.tobytes() for k, v in resumed.sums.items()} == {
        k: v.tobytes() for k, v in expected.sums.items()
    }
    assert state_bytes(mc.load(parts / "final.safetensors")) == state_bytes(
        mc.load(whole / "final.safetensors")
    )


# --- kill -9 ---------------------------------------------------------------------------------


def child():
    """What the killed process runs: test_resume.py FOLDER"""
    folder = Path(sys.argv[1])
    mc.set_num_threads(1)
    train(folder, adam, epochs=60, resume=(folder / "last.safetensors").exists())


@pytest.mark.slow
def test_resume_after_kills_at_random_moments_gives_the_files_of_an_uninterrupted_run(folders):
    whole, parts = folders
    train(whole, adam, epochs=60)
    delays = random.Random(0)
    command = [sys.executable, __file__, str(parts)]
    hits = 0
    for _ in range(5):
        before = _epoch(parts)
        process = subprocess.Popen(command)
        give_up = time.monotonic() + 60
        while _epoch(parts) == before and process.poll() is None:  # until it trains
            assert time.monotonic() < give_up
            time.sleep(0.005)
        time.sleep(delays.uniform(0, 0.05))
        hits += process.poll() is None
        process.kill()
        process.wait()
    subprocess.run(command, check=True)
    for rest in parts.glob(".minicnn-*.tmp"):  # of a save that was killed
        rest.unlink()
    assert folder_bytes(parts) == folder_bytes(whole)
    assert hits >= 2, "the kills must hit a training that is under way"


def _epoch(folder):
    """Epochs done according to the state file; -1 without one."""
    path = folder / "last.safetensors"
    return checkpoint.read(path)[1]["epoch"] if path.exists() else -1


if __name__ == "__main__":
    child()
