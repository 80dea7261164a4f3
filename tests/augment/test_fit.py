"""`fit(augment=…)`: what is trained on, what is not, and the thread that makes the batches."""

import threading
import time

import numpy as np
import pytest

import minicnn as mc
from minicnn import random
from minicnn.augment.compose import Epoch
from minicnn.training import feed as feeding
from minicnn.training.feed import Feed
from minicnn.training.plan import Plan


def data(n=50):
    digits = mc.datasets.load_digits()
    return digits.images[:n], digits.labels[:n]


def net(seed=0):
    return mc.Sequential(
        mc.Conv2d(1, 4, 3), mc.BatchNorm2d(4), mc.ReLU(), mc.Flatten(), mc.Linear(None, 10),
        seed=seed,
    ).build((1, 8, 8))  # fmt: skip


def train(augment, epochs=2, model=None, **arguments):
    model = model or net()
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    history = model.fit(*data(), epochs, 16, optimizer=optimizer, augment=augment, **arguments)
    return model, history


def make_plan(augment, model, **arguments):
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    return Plan(*data(), 1, 16, optimizer, mc.CrossEntropyLoss(), augment=augment, **arguments)


def state(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


CHAIN = mc.augment.Compose(mc.augment.preset("strong", 1), mc.augment.CutMix(1, p=0.5))


def test_fit_trains_on_the_augmented_batches_in_the_epochs_order():
    model, _ = train(CHAIN, epochs=2, seed=7)
    by_hand = net()
    optimizer, loss = mc.SGD(by_hand.parameters(), lr=0.1), mc.CrossEntropyLoss()
    for epoch in range(2):
        order = random.permutation(50, 7, random.SHUFFLE, epoch)
        rows = Epoch(CHAIN, *data(), 7, epoch, 10)
        for start in range(0, 50, 16):
            by_hand.train_step(*rows.batch(order[start : start + 16]), loss, optimizer)
    assert state(model) == state(by_hand)


def test_fit_gives_the_same_bits_for_any_number_of_threads(keep_threads):
    states = []
    for threads in (1, 3):
        mc.set_num_threads(threads)
        states.append(state(train(CHAIN)[0]))
    assert states[0] == states[1]


def test_fit_with_none_is_fit_without():
    assert state(train(None)[0]) == state(train("none")[0])


def test_fit_with_a_preset_or_one_transform_is_fit_with_its_chain():
    light, flip = mc.augment.preset("light", 1), mc.augment.RandomHorizontalFlip()
    assert state(train("light")[0]) == state(train(light)[0]) != state(train(None)[0])
    assert state(train(flip)[0]) == state(train(mc.augment.Compose(flip))[0])


def test_fit_does_not_augment_the_validation_data():
    model, history = train(CHAIN, validation_data=data(30))
    found = model.evaluate(*data(30))
    assert (history[-1]["val_loss"], history[-1]["val_accuracy"]) == tuple(found.values())


def test_fit_with_drop_last_leaves_out_the_rest():
    seen = []

    class Count(mc.Callback):
        def on_batch_end(self, run):
            seen.append(run.samples)

    train(CHAIN, 1, drop_last=True, callbacks=[Count()])
    assert seen == [16, 32, 48]


def test_fit_reads_memory_mapped_images(tmp_path):
    x, y = data()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    states = []
    for images in (x, mapped):
        model = net()
        model.fit(images, y, 1, 16, optimizer=mc.SGD(model.parameters(), 0.1), augment=CHAIN)
        states.append(state(model))
    assert states[0] == states[1]


def test_feed_is_made_ahead_and_says_how_long_it_was_waited_for(monkeypatch):
    made = []

    class Slow(Epoch):
        def batch(self, index):
            time.sleep(0.02)
            made.append(threading.current_thread())
            return super().batch(index)

    monkeypatch.setattr("minicnn.augment.compose.Epoch", Slow)
    feed = Feed(make_plan(CHAIN, net()), 0, 10)
    start, trained = time.perf_counter(), 0.0
    for taken, _ in enumerate(feed):
        began = time.perf_counter()
        # The first step of the training; meanwhile the other batches are made.
        while taken == 0 and len(made) < 4:
            time.sleep(0.01)
            assert time.perf_counter() - began < 30
        trained += time.perf_counter() - began
    assert len(made) == 4 and threading.current_thread() not in made
    assert 0.02 <= feed.waited <= time.perf_counter() - start - trained


def test_feed_stops_its_thread_when_the_training_is_left(monkeypatch):
    monkeypatch.setattr(feeding, "AHEAD", 1)
    before = threading.active_count()

    class Leave(mc.Callback):
        def on_batch_end(self, run):
            assert threading.active_count() > before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CHAIN, callbacks=[Leave()])
    assert threading.active_count() == before


def test_feed_hands_an_error_of_its_thread_on():
    class Broken(mc.augment.Pixelwise):
        def apply(self, x, u):
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="broken on purpose"):
        train(Broken())


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        ("heavy", ValueError, "'heavy'; expected none, light, strong"),
        (3, TypeError, "3 is no transform"),
        (mc.augment.Compose, TypeError, "is no transform"),
    ],
)
def test_fit_with_another_augment_says_what_is_expected(augment, error, message):
    with pytest.raises(error, match=message):
        train(augment)


def test_fit_on_what_are_no_images_refuses_to_augment():
    model = mc.Sequential(mc.Linear(4, 2), seed=0)
    optimizer = mc.SGD(model.build((4,)).parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"only images \(N, C, H, W\) can be augmented"):
        model.fit(np.zeros((6, 4), np.float32), np.zeros(6, int), optimizer=optimizer,
                  augment="light")  # fmt: skip
