"""Training steps as one native call, against the same steps call by call."""

import copy
import gc
import multiprocessing
import os
import signal
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from checks import THREADS, assert_close, assert_same_bits

import minicnn as mc
from engine.nets import random_net
from minicnn import sequential
from minicnn.engine.description import SLOTS, Operation, Stage
from minicnn.lowering import cache
from minicnn.lowering.step import PreparedSteps
from minicnn.lowering.whole_step import training_step

# docs/numerics.md: a step of a small net is off by about 1e-6 of the largest value.
NET_TOLERANCE = 1e-5
UNIT = 2.0**-24

OPTIMIZERS = {
    "sgd": lambda p: mc.SGD(p, 0.1),
    "momentum": lambda p: mc.SGD(p, 0.05, momentum=0.9, dampening=0.3, weight_decay=1e-2),
    "nesterov": lambda p: mc.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    # A large eps: where a gradient is nothing but rounding errors, Adam would blow them up.
    "adam": lambda p: mc.Adam(p, 3e-3, eps=1e-3, weight_decay=1e-2),
    "adamw": lambda p: mc.AdamW(p, 3e-3, (0.8, 0.99), eps=1e-3, weight_decay=1e-1),
}

LOSSES = {
    "plain": lambda k: mc.CrossEntropyLoss(),
    "weighted": lambda k: mc.CrossEntropyLoss(np.linspace(0.2, 2, k)),
    "smooth": lambda k: mc.CrossEntropyLoss(label_smoothing=0.2),
    "all": lambda k: mc.CrossEntropyLoss(np.linspace(2, 0, k), 1, 0.3),
}


def small_model(*more, seed=3):
    return mc.Sequential(
        mc.Conv2d(1, 4, 3, padding=1), mc.BatchNorm2d(4), mc.ReLU(), mc.MaxPool2d(2),
        mc.Dropout(0.2), *more, mc.Linear(None, 3), seed=seed,
    ).build((1, 8, 8))  # fmt: skip


@pytest.fixture
def batch():
    g = np.random.default_rng(5)
    return g.normal(size=(20, 1, 8, 8)).astype(np.float32), g.integers(0, 3, 20)


@pytest.fixture
def calls(monkeypatch):
    """Counts the steps that were made in one native call."""
    made = SimpleNamespace(native=0)
    step, step_by_calls = mc.Sequential.train_and_count, sequential.step_by_calls

    def counted(*arguments, **options):
        result = step(*arguments, **options)
        made.native += 1
        return result

    def not_counted(*arguments):
        result = step_by_calls(*arguments)
        made.native -= 1
        return result

    monkeypatch.setattr(mc.Sequential, "train_and_count", counted)
    monkeypatch.setattr(sequential, "step_by_calls", not_counted)
    return made


def call_by_call(model):
    """A twin whose steps are not made in one call, though the engine makes its passes."""
    twin = copy.deepcopy(model)
    twin._passes = SimpleNamespace(
        find=cache.PassCache().find, train_step=lambda *arguments: None, steps=PreparedSteps()
    )  # fmt: skip
    return twin


def state(model, optimizer):
    arrays = model.state_dict() | optimizer.state_dict()["slots"]
    arrays["gradient"] = model.flat_gradients
    return arrays, model.generator_steps(), optimizer.steps


def assert_same_state(actual, expected):
    assert actual[0].keys() == expected[0].keys() and actual[1:] == expected[1:]
    for name, array in actual[0].items():
        assert_same_bits(array, expected[0][name])


def train(model, optimizer, x, y, loss_fn, clip_norm, steps=4):
    found = [model.train_and_count(x, y, loss_fn, optimizer, clip_norm) for _ in range(steps)]
    return found, *state(model, optimizer)


@pytest.mark.parametrize("clip_norm", (None, 0.05, np.inf))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_native_step_agrees_with_the_calls_one_by_one(loss, optimizer, clip_norm, calls):
    seed = sorted(LOSSES).index(loss) + 10 * sorted(OPTIMIZERS).index(optimizer)
    model, x = random_net(seed)
    classes = model.build(x.shape[1:])[-1].out_features
    y = np.random.default_rng(seed).integers(0, classes, len(x))
    y[0] = 0  # never all of them ignored or without weight
    twin = call_by_call(model)
    runs = [
        train(m, OPTIMIZERS[optimizer](m.parameters()), x, y, LOSSES[loss](classes), clip_norm)
        for m in (model, twin)
    ]
    assert calls.native == 4
    (found, arrays, *counts), (expected, expected_arrays, *expected_counts) = runs
    assert counts == expected_counts
    np.testing.assert_allclose(*([loss for loss, _ in run] for run in (found, expected)), 1e-5)
    assert [count for _, count in found] == [count for _, count in expected]
    assert arrays.keys() == expected_arrays.keys()
    for name, value in expected_arrays.items():
        scale = np.abs(value).max() + 0.1
        assert_close(arrays[name], value, 4 * NET_TOLERANCE, scale, may_be_zero=True)


@pytest.mark.parametrize("odd", ("ties", "ignored", "not a number", "infinite"))
@pytest.mark.parametrize("classes", (1, 2, 8, 10, 16, 17, 33))
def test_samples_are_counted_as_argmax_does_where_one_of_many_is_odd(classes, odd, calls):
    n = 40  # a few vectors of samples, and some that fill none
    g = np.random.default_rng(classes)
    model = mc.Sequential(mc.Linear(n, classes, bias=False))
    model.flat_parameters[...] = g.integers(-2, 3, n * classes)
    x = np.eye(n, dtype=np.float32)
    x[21, 21] = {"not a number": np.nan, "infinite": np.inf}.get(odd, 0.0)
    with np.errstate(invalid="ignore"):
        logits = x @ model[0].weight.data.T
    right = logits.argmax(1)
    y = np.where(np.arange(n) % 3 == 0, right, g.integers(0, classes, n))
    loss_fn = mc.CrossEntropyLoss()
    y[21] = loss_fn.ignore_index if odd == "ignored" else y[21]
    loss, correct = model.train_and_count(x, y, loss_fn, mc.SGD(model.parameters(), 0.0))
    assert correct == (right == y).sum() and calls.native == 1
    if np.isfinite(logits).all():
        assert loss == pytest.approx(loss_fn(logits, y), rel=1e-6)
        expected = (x.T @ loss_fn.backward()).T
        assert_close(model[0].weight.grad, expected, 1e-6, 1 / n, may_be_zero=True)
    else:
        assert not np.isfinite(loss)


@pytest.mark.parametrize("classes", (1, 2, 3, 10, 15, 16, 17, 32, 33, 100))
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_its_gradient_agree_with_the_kernels(loss, classes, calls):
    """A Linear without bias on one-hot samples hands the rows of its weight on as logits."""
    n = 20
    g = np.random.default_rng(classes)
    model = mc.Sequential(mc.Linear(n, classes, bias=False))
    model.flat_parameters[...] = g.normal(0, 10, n * classes)
    x, y = np.eye(n, dtype=np.float32), g.integers(0, classes, n)
    y[0] = 0
    loss_fn = LOSSES[loss](classes)
    logits = model[0].weight.data.T.copy()
    expected, dlogits = loss_fn(logits, y), loss_fn.backward()
    found, correct = model.train_and_count(x, y, loss_fn, mc.SGD(model.parameters(), 0.0))
    assert calls.native == 1
    spread = float(np.ptp(logits))
    assert found == pytest.approx(expected, rel=2 * UNIT, abs=2 * UNIT * spread)
    assert correct == (logits.argmax(1) == y).sum()
    # docs/numerics.md: the kernels round p to float32, here e^x is good to two units.
    weight = np.ones(classes) if loss_fn.weight is None else loss_fn.weight
    scale = 2 * weight.max() / weight[y[y != loss_fn.ignore_index]].sum()
    assert_close(model[0].weight.grad.T.copy(), dlogits, 4 * UNIT, scale, may_be_zero=True)


@pytest.mark.parametrize("gap", (20, 60, 200, 1e20))
def test_confident_logits_keep_the_digits_of_their_loss(gap, calls):
    """log1p(e^-gap) for the right label, gap for the wrong one."""
    model = mc.Sequential(mc.Linear(1, 2, bias=False))
    model.flat_parameters[...] = (gap, 0)
    x, optimizer = np.ones((1, 1), np.float32), mc.SGD(model.parameters(), 0.0)
    for label, expected in ((0, np.log1p(np.exp(-gap))), (1, gap)):
        found = model.train_step(x, np.array([label]), mc.CrossEntropyLoss(), optimizer)
        assert found == pytest.approx(expected, rel=2 * UNIT, abs=1e-15)
    assert calls.native == 2


@pytest.mark.parametrize(
    "y", [np.int64, np.int32, np.uint8, np.int16, np.uint64, ">i4", list, "strided"]
)
def test_labels_of_every_kind_give_the_same_step(y, batch, calls):
    x, labels = batch
    if y == "strided":
        given = np.repeat(labels, 2)[::2]
    else:
        given = labels.tolist() if y is list else labels.astype(y)
    models = [small_model(), small_model()]
    losses = [
        m.train_step(x, these, mc.CrossEntropyLoss(), mc.SGD(m.parameters(), 0.1))
        for m, these in zip(models, (labels, given), strict=True)
    ]
    assert losses[0] == losses[1] and calls.native == 2
    assert_same_bits(*(m.flat_parameters for m in models))


@pytest.mark.parametrize("kind", ("uint8", "float64", "strided", "list"))
def test_images_of_every_kind_give_the_same_step(kind, batch, calls):
    _, y = batch
    pixels = np.random.default_rng(2).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    plain = pixels.astype(np.float32) / np.float32(255)
    given = {
        "uint8": pixels, "float64": plain.astype(np.float64), "list": plain.tolist(),
        "strided": np.repeat(plain, 2, axis=3)[..., ::2],
    }[kind]  # fmt: skip
    ends = []
    for x in (plain, given):
        model = small_model()
        optimizer = mc.SGD(model.parameters(), 0.1)
        for _ in range(2):
            model.train_step(x, y, mc.CrossEntropyLoss(), optimizer)
        ends.append(model.flat_parameters)
    assert calls.native == 4
    assert_same_bits(*ends)


CHOSEN = np.array([3, 17, 0, 3, 8], np.int64)  # one of them twice
LOOKS = {
    "plain": lambda x, y: (x, y, CHOSEN),
    "uint8": lambda x, y: (np.round(x * 255).astype(np.uint8), y, CHOSEN),
    "float64": lambda x, y: (x.astype(np.float64), y, CHOSEN),
    "lists": lambda x, y: (x.tolist(), y.tolist(), CHOSEN.tolist()),
    "strided": lambda x, y: (np.repeat(x, 2, 0)[::2], np.repeat(y, 2)[::2], CHOSEN.astype(">u2")),
    "small labels": lambda x, y: (x, y.astype(np.uint8), CHOSEN.astype(np.int32)),
    "other labels": lambda x, y: (x, y.astype(np.int16), CHOSEN),
}


@pytest.mark.parametrize("engine", (True, False))
@pytest.mark.parametrize("look", LOOKS)
def test_chosen_samples_give_the_step_of_their_batch(look, engine, batch, calls):
    plain = (np.random.default_rng(2).integers(0, 256, (20, 1, 8, 8)) / 255).astype(np.float32)
    x, y, chosen = LOOKS[look](plain, batch[1])
    states = []
    for data, indices in (((plain[CHOSEN], batch[1][CHOSEN]), None), ((x, y), chosen)):
        model = small_model()
        optimizer = mc.SGD(model.parameters(), 0.1)
        mc.set_engine(engine)
        try:
            for _ in range(3):
                model.train_step(*data, mc.CrossEntropyLoss(), optimizer, indices=indices)
        finally:
            mc.set_engine(True)
        states.append(state(model, optimizer))
    assert calls.native == 6 * engine
    assert_same_state(*states)


def test_chosen_samples_can_have_shares_of_the_classes(batch):
    x, shares = batch[0], np.eye(3, dtype=np.float32)[batch[1]]
    states = []
    for data, indices in (((x[CHOSEN], shares[CHOSEN]), None), ((x, shares), CHOSEN)):
        model = small_model()
        optimizer = mc.SGD(model.parameters(), 0.1)
        model.train_step(*data, mc.CrossEntropyLoss(), optimizer, indices=indices)
        states.append(state(model, optimizer))
    assert_same_state(*states)


@pytest.mark.parametrize("prepared", (False, True))
@pytest.mark.parametrize(
    ("indices", "samples", "labels", "error", "message"),
    [
        ([0, 20], 20, 20, ValueError, r"indices\[1\] is 20; with 20 samples .* 0\.\.19"),
        ([-1, 2], 20, 20, ValueError, r"indices\[0\] is -1"),
        ([True, False], 20, 20, TypeError, r"got bool; .*flatnonzero"),
        ([0.0, 1.0], 20, 20, TypeError, "must be integers, got float64"),
        ([], 20, 20, ValueError, r"got shape \(0,\)"),
        (3, 20, 20, ValueError, r"got shape \(\)"),
        ([[1, 2]], 20, 20, ValueError, r"got shape \(1, 2\)"),
        ([0, 1], 20, 19, ValueError, r"got shape \(19,\) for 20 samples"),
        ([0, 1], 20, 21, ValueError, r"got shape \(21,\) for 20 samples"),
    ],
)
def test_wrong_indices_are_an_error_and_nothing_moves(
    indices, samples, labels, error, message, prepared, batch
):
    model = small_model()
    optimizer = mc.SGD(model.parameters(), 0.1)
    x, y = np.resize(batch[0], (samples, 1, 8, 8)), np.resize(batch[1], labels)
    loss = mc.CrossEntropyLoss()
    if prepared:
        model.train_step(x, batch[1], loss, optimizer, indices=[4, 5])
    before = copy.deepcopy(state(model, optimizer))
    with pytest.raises(error, match=message):
        model.train_step(x, y, loss, optimizer, indices=indices)
    assert_same_state(before, state(model, optimizer))


class Own(mc.SGD):
    """A subclass may move anything anywhere."""

    def update(self, segment, slots, first):
        segment.data[...] = 1


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(loss_fn=type("Mine", (mc.CrossEntropyLoss,), {})()),
        lambda c: c.update(optimizer=Own(c["model"].parameters(), 0.1)),
        lambda c: c.update(optimizer=mc.SGD(c["model"].parameters()[2:], 0.1)),
        lambda c: vars(c["optimizer"]).update(update=lambda *arguments: None),
        lambda c: c["model"].layers.insert(0, mc.Identity()) or c["model"].layers.insert(1, Same()),
        lambda c: mc.set_engine(False),
    ],
)  # fmt: skip
def test_what_is_not_the_engines_is_left_to_the_calls(change, batch, calls):
    model = small_model()
    case = {"model": model, "loss_fn": mc.CrossEntropyLoss(),
            "optimizer": mc.SGD(model.parameters(), 0.1)}  # fmt: skip
    model.train_step(*batch, case["loss_fn"], case["optimizer"])
    assert calls.native == 1
    change(case)
    before = case["optimizer"].steps
    model.train_step(*batch, case["loss_fn"], case["optimizer"])
    assert calls.native == 1 and case["optimizer"].steps == before + 1


class Same(mc.Layer):
    def forward(self, x):
        return self.prepare(x)

    def backward(self, dy):
        return dy


def test_rates_are_read_anew_at_each_step(batch, calls):
    model = small_model()
    twin = call_by_call(model)
    ends = []
    for m in (model, twin):
        optimizer, loss_fn = mc.SGD(m.parameters(), 0.1), mc.CrossEntropyLoss()
        for change in ({}, {"lr": 0.5}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"lr": 0.01}):
            vars(optimizer).update(change)
            m.train_step(*batch, loss_fn, optimizer)
            loss_fn.label_smoothing = 0.1
            m[4].p = 0.5
        optimizer.load_state_dict(optimizer.state_dict())
        m.train_step(*batch, loss_fn, optimizer)
        ends.append(m.flat_parameters)
    assert calls.native == 6
    assert_close(*ends, 10 * NET_TOLERANCE, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: vars(m[0]).update(padding=(2, 2), dilation=(2, 2)),
        lambda m: setattr(m[3], "kernel_size", (1, 1)),
        lambda m: setattr(m[1], "eps", 0.5),
        lambda m: setattr(m[1], "momentum", 0.5),
        lambda m: m[1].eval(),
        lambda m: m[4].eval(),
        lambda m: setattr(m[4], "p", 0.6),
        lambda m: setattr(m[5], "negative_slope", 0.7),
        lambda m: setattr(m[6][0], "count_include_pad", False),
        lambda m: m[6].layers.append(mc.ReLU()),
        lambda m: m.layers.__setitem__(5, mc.ReLU()),
        lambda m: m.reset_parameters(9),
        lambda m: mc.Sequential(m).build((1, 8, 8)),  # its parameters move to the outer block
    ],
)  # fmt: skip
def test_change_of_a_layer_is_noticed_by_a_prepared_step(change, batch, calls):
    pool = mc.Sequential(mc.AvgPool2d(3, 1, 1))
    model = small_model(mc.LeakyReLU(), pool)
    ends = []
    for m in (model, call_by_call(model)):
        optimizer, loss_fn = mc.SGD(m.parameters(), 0.1), mc.CrossEntropyLoss()
        losses = [m.train_step(*batch, loss_fn, optimizer)]
        change(m)
        try:
            losses += [m.train_step(*batch, loss_fn, optimizer) for _ in range(2)]
        except RuntimeError as error:  # the optimizer's arrays are not the model's any more
            losses.append(str(error))
        ends.append((losses[:1], losses[1:]))
    assert calls.native >= 1
    for found, expected in zip(*ends, strict=True):
        if isinstance(expected[-1], str):
            assert found == expected
        else:
            np.testing.assert_allclose(found, expected, 1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3] + [0] * 17, r"labels\[2\] is 3; with 3 classes it must lie in 0\.\.2 or be"),
        ([0, -1, 2] + [0] * 17, r"labels\[1\] is -1"),
        ([0] * 19, "as many as the samples, got 19 for 20"),
    ],
)
def test_wrong_labels_are_an_error_and_nothing_moves(y, message, batch):
    model = small_model()
    optimizer, loss_fn = mc.Adam(model.parameters()), mc.CrossEntropyLoss()
    for _ in range(2):  # before and after the step was prepared
        before = copy.deepcopy(state(model, optimizer))
        with pytest.raises(ValueError, match=message):
            model.train_step(batch[0], np.array(y), loss_fn, optimizer)
        assert str(state(model, optimizer)) == str(before)
        model.train_step(*batch, loss_fn, optimizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: setattr(o, "nesterov", True), "nesterov needs momentum > 0"),
        (lambda o: setattr(o, "lr", "fast"), "must be real number"),
    ],
)
def test_wrong_rates_are_the_same_error_as_call_by_call(change, message, batch):
    model = small_model()
    optimizer = mc.SGD(model.parameters(), 0.1)
    change(optimizer)
    with pytest.raises((TypeError, ValueError), match=message):
        model.train_step(*batch, mc.CrossEntropyLoss(), optimizer)


@pytest.mark.parametrize("value", (-1.0, "far"))
def test_wrong_clip_norm_is_the_same_error_as_call_by_call(value, batch):
    model = small_model()
    with pytest.raises((TypeError, ValueError), match="max_norm is"):
        model.train_step(*batch, mc.CrossEntropyLoss(), mc.SGD(model.parameters(), 0.1), value)


@pytest.mark.parametrize("spoilt", ("x", "ignored", "weight"))
def test_step_without_a_finite_loss_moves_nothing(spoilt, batch, calls):
    x, y = batch[0].copy(), batch[1]
    model = small_model()
    optimizer, loss_fn = mc.SGD(model.parameters(), 0.1, momentum=0.9), mc.CrossEntropyLoss()
    if spoilt == "x":
        x[7, 0, 3, 3] = np.nan
    elif spoilt == "weight":
        model.flat_parameters[1] = np.inf
    else:
        y = np.full(20, loss_fn.ignore_index)
    before = copy.deepcopy(state(model, optimizer))
    before[0].pop("gradient")
    assert not np.isfinite(model.train_step(x, y, loss_fn, optimizer))
    after = state(model, optimizer)
    after[0].pop("gradient")
    assert calls.native == 1
    assert str(after) == str(before) and not optimizer.slots
    for name, value in before[0].items():
        assert_same_bits(after[0][name], value)


def test_loss_remembers_nothing_of_a_native_step(batch):
    model, loss_fn = small_model(), mc.CrossEntropyLoss()
    loss_fn(np.zeros((20, 3), np.float32), batch[1])
    model.train_step(*batch, loss_fn, mc.SGD(model.parameters(), 0.1))
    with pytest.raises(RuntimeError, match="before any loss was computed"):
        loss_fn.backward()


@pytest.mark.parametrize("clip_norm", (None, 0.1))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_number_of_threads_gives_the_same_bits(optimizer, clip_norm, batch):
    ends = []
    for threads in THREADS:
        mc.set_num_threads(threads)
        model = small_model(mc.Linear(None, 400), mc.ReLU())  # several blocks of parameters
        ends.append(
            train(model, OPTIMIZERS[optimizer](model.parameters()), *batch,
                  mc.CrossEntropyLoss(), clip_norm)
        )  # fmt: skip
    for found, arrays, *_ in ends[1:]:
        assert found == ends[0][0]
        for name, value in ends[0][1].items():
            assert_same_bits(arrays[name], value)


def test_several_threads_train_one_model_step_after_step(batch):
    model = small_model()
    optimizer, loss_fn = mc.SGD(model.parameters(), 0.1), mc.CrossEntropyLoss()
    workers = [
        threading.Thread(
            target=lambda n=n: [
                model.train_step(batch[0][:n], batch[1][:n], loss_fn, optimizer) for _ in range(20)
            ]
        )
        for n in (20, 20, 13, 5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert optimizer.steps == 80 and model[1].num_batches_tracked == 80
    assert model.generator_steps() == {"4": 80}
    assert np.isfinite(model.flat_parameters).all()


def _steps(seed):
    """Losses of three steps, as in this process or in a child of it."""
    g = np.random.default_rng(seed)
    x, y = g.normal(size=(20, 1, 8, 8)).astype(np.float32), g.integers(0, 3, 20)
    model = small_model()
    optimizer = mc.Adam(model.parameters())
    return [model.train_step(x, y, mc.CrossEntropyLoss(), optimizer) for _ in range(3)]


def _report(queue):
    queue.put(_steps(1))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_step_in_a_forked_child_gives_the_same_bits():
    mc.set_num_threads(2)
    expected = _steps(1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_report, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=40) == expected
    finally:
        child.kill()
        child.join()


def test_nothing_is_allocated_after_the_first_step():
    model = mc.Sequential(mc.Linear(64, 10))
    g = np.random.default_rng(0)
    x, y = g.normal(size=(32, 64)).astype(np.float32), g.integers(0, 10, 32)
    optimizer, loss_fn = mc.SGD(model.parameters(), 0.01, momentum=0.9), mc.CrossEntropyLoss()
    for _ in range(3):
        model.train_step(x, y, loss_fn, optimizer, 1.0)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(50):
            model.train_step(x, y, loss_fn, optimizer, 1.0)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The last result stays; the smallest array would take 50 times 256 bytes.
    assert left < 1024 and peak < 2048


def test_subnormal_numbers_count_as_zero_within_a_step_only():
    mc.set_num_threads(2)
    model = mc.Sequential(mc.Linear(1, 2, bias=False))
    tiny = np.float32(1e-39)
    model.flat_parameters[...] = (tiny, 1)
    x, y = np.ones((1, 1), np.float32), np.array([0])
    model.train_step(x, y, mc.CrossEntropyLoss(ignore_index=5), mc.SGD(model.parameters(), 0.0))
    assert model.flat_parameters[0] == 0
    assert tiny * np.float32(0.5) != 0 and np.full(99, tiny).sum() > 0


def _interrupt_soon(delay):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector_callbacks")
@pytest.mark.parametrize("threads", (1, 2))
def test_ctrl_c_in_a_long_step_is_answered_soon_and_leaves_everything_as_before(threads):
    mc.set_num_threads(threads)
    model = mc.Sequential(
        mc.Conv2d(3, 32, 3, padding=1), mc.BatchNorm2d(32), mc.ReLU(),
        mc.Conv2d(32, 32, 3, padding=1), mc.ReLU(), mc.Dropout(0.1), mc.Linear(None, 4),
    ).build((3, 64, 64))  # fmt: skip
    g = np.random.default_rng(0)
    x, y = g.normal(size=(256, 3, 64, 64)).astype(np.float32), g.integers(0, 4, 256)
    optimizer, loss_fn = mc.SGD(model.parameters(), 0.1, momentum=0.9), mc.CrossEntropyLoss()
    model.train_step(x[:4], y[:4], loss_fn, optimizer)
    model.pass_cache.prepare(model, x, loss_fn, optimizer)
    before = copy.deepcopy(state(model, optimizer))
    timer = _interrupt_soon(0.3)
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        while True:
            assert optimizer.steps == 1, "the step should take longer than the signal"
            model.train_step(x, y, loss_fn, optimizer)
    late = time.perf_counter() - start - 0.3
    timer.join()
    after = state(model, optimizer)
    assert after[1:] == before[1:]
    for name, value in before[0].items():
        if name != "gradient":
            assert_same_bits(after[0][name], value)
    assert late < 5, "not at the end of the step, wherever that is on a busy machine"
    assert np.isfinite(model.train_step(x[:4], y[:4], loss_fn, optimizer))


def test_stages_and_their_calls_can_be_timed(batch):
    mc.set_num_threads(1)  # of several the leading one may find nothing left to do
    model = small_model()
    optimizer, loss_fn = mc.SGD(model.parameters(), 0.1), mc.CrossEntropyLoss()
    model.train_step(*batch, loss_fn, optimizer)
    plan = model.passes_for(batch[0]).plan
    plan.timed = True
    start = time.perf_counter()
    model.train_step(*batch, loss_fn, optimizer)
    whole = (time.perf_counter() - start) * 1e6
    stages = plan.stage_times()
    assert any("conv_forward[0]" in call for _, calls in stages for call, _ in calls)
    assert 0 < sum(spent for spent, _ in stages) < whole
    assert all(0 <= sum(spent for _, spent in calls) <= of_all for of_all, calls in stages)
    assert all(spent > 0 for _, calls in stages for call, spent in calls if "conv" in call)
    with pytest.raises(RuntimeError, match="make a backward pass"):
        plan.stage_times("backward")


@pytest.mark.parametrize(("group", "stages"), ((1, 1), (4, 3)))
def test_stages_around_the_loss_are_joined_unless_a_kernel_takes_several_slots(group, stages):
    operations = [Operation(), Operation(group=group), Operation()]
    forward = [Stage(SLOTS, [("conv_forward", 0)], True), Stage(SLOTS, [("write_output", 2)], True)]
    backward = [Stage(SLOTS, [("read_doutput", 2), ("conv_backward", 1)], True)]
    whole = training_step(forward, backward, operations, 1)
    with_loss = [s for s in whole if s.items == SLOTS][1:]
    assert len(with_loss) == stages
    calls = [name for stage in with_loss for name, _ in stage.calls]
    assert calls == ["write_output", "cross_entropy", "read_doutput", "conv_backward"]
