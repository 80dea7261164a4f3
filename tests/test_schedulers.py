"""Schedules: values worked out by hand, whole sequences of PyTorch, resuming, errors.

Ours are closed forms in double, PyTorch's partly products step by step: 1e-9 relative covers
the rounding of some hundred factors, and 1e-12 of the base rate a cosine near its zero.
"""

import json
import math
import warnings

import numpy as np
import pytest

from minicnn.layers.base import Parameter
from minicnn.optim import SGD, Adam, Optimizer
from minicnn.schedulers import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

BASE = 0.4


def sgd(lr=BASE, momentum=0.5):
    return SGD([Parameter(np.zeros(1, np.float32), "p")], lr=lr, momentum=momentum)


def sequence(schedule, steps):
    """The learning rate and the momentum now and after each of `steps` steps."""
    optimizer, seen = schedule.optimizer, []
    for i in range(steps + 1):
        momentum = optimizer.betas[0] if isinstance(optimizer, Adam) else optimizer.momentum
        seen.append((optimizer.lr, momentum))
        if i < steps:
            schedule.step()
    return np.array(seen)


def torch_optimizer(torch, kind="SGD"):
    tensor = torch.zeros(1, requires_grad=True)
    tensor.grad = torch.zeros(1)
    arguments = {"momentum": 0.5} if kind == "SGD" else {}
    return getattr(torch.optim, kind)([tensor], lr=BASE, **arguments)


def torch_sequence(schedule, steps, *, optimizer):
    group, seen = optimizer.param_groups[0], []
    for i in range(steps + 1):
        seen.append((group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]))
        if i < steps:
            optimizer.step()
            schedule.step()
    return np.array(seen)


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * BASE)


# --- by hand ----------------------------------------------------------------------------------


def rates(schedule, steps):
    return sequence(schedule, steps)[:, 0].tolist()


def test_step_lr_drops_every_step_size():
    expected = [0.4, 0.4, 0.2, 0.2, 0.1]
    assert rates(StepLR(sgd(), 2, gamma=0.5), 4) == pytest.approx(expected)


def test_multi_step_lr_drops_at_each_milestone_and_twice_at_a_double_one():
    expected = [0.4, 0.2, 0.2, 0.05, 0.05]
    assert rates(MultiStepLR(sgd(), [3, 1, 3], gamma=0.5), 4) == pytest.approx(expected)


def test_multi_step_lr_with_milestone_zero_starts_dropped():
    assert rates(MultiStepLR(sgd(), [0], gamma=0.5), 1) == pytest.approx([0.2, 0.2])


def test_exponential_lr_is_a_power():
    assert rates(ExponentialLR(sgd(), 0.5), 3) == pytest.approx([0.4, 0.2, 0.1, 0.05])


def test_cosine_falls_to_eta_min_and_rises_again():
    expected = [0.4, 0.25, 0.1, 0.25, 0.4, 0.25]
    assert rates(CosineAnnealingLR(sgd(), 2, eta_min=0.1), 5) == pytest.approx(expected)


def test_warmup_rises_to_the_base_rate_and_stays():
    expected = [0.2, 0.3, 0.4, 0.4]
    assert rates(LinearWarmup(sgd(), 2, start_factor=0.5), 3) == pytest.approx(expected)


def test_warmup_hands_over_to_the_start_of_the_next_schedule():
    optimizer = sgd()
    after = StepLR(optimizer, 1, gamma=0.5, interval="batch")
    schedule = LinearWarmup(optimizer, 2, start_factor=0.5, after=after)
    assert rates(schedule, 4) == pytest.approx([0.2, 0.3, 0.4, 0.2, 0.1])
    assert (schedule.t, after.t) == (4, 2)


def warm_plateau(optimizer, **arguments):
    after = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, **arguments)
    return LinearWarmup(optimizer, 2, start_factor=0.5, after=after, interval="epoch")


def warm_plateau_without_metric(optimizer):
    warm_plateau(optimizer).step()


def test_warmup_before_a_plateau_schedule_hands_on_the_metrics_after_it():
    schedule = warm_plateau(sgd())
    seen = [schedule.optimizer.lr]
    for metric in (1.0, 2.0, 3.0, 4.0, 3.5):  # the warm-up looks at none of the first two
        schedule.step(metric)
        seen.append(schedule.optimizer.lr)
    assert seen == pytest.approx([0.2, 0.3, 0.4, 0.4, 0.2, 0.1])
    assert schedule.needs_metric and schedule.after.best == 3.0


def test_warmup_before_a_plateau_schedule_has_its_mode():
    assert warm_plateau(sgd(), mode="max").mode == "max"
    assert LinearWarmup(sgd(), 2).mode == "min" and not LinearWarmup(sgd(), 2).needs_metric


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_resumed_warmup_before_a_plateau_goes_on_as_the_uninterrupted_one(steps):
    metrics = [3.0, 2.0, 1.0, 2.0, 0.5, 0.7, 0.6]
    rates = []
    schedule = warm_plateau(sgd())
    for i, metric in enumerate(metrics):
        if i == steps:
            state, lr = json.loads(json.dumps(schedule.state_dict())), schedule.optimizer.lr
        schedule.step(metric)
        rates.append(schedule.optimizer.lr)
    resumed = warm_plateau(sgd(lr=0.123))
    resumed.load_state_dict(state)
    resumed.optimizer.lr = lr
    for metric, rate in zip(metrics[steps:], rates[steps:], strict=True):
        resumed.step(metric)
        assert resumed.optimizer.lr == rate


def test_one_cycle_rises_peaks_and_falls_to_its_last_rate():
    # The rise ends at step 0.5 * 10 - 1 = 4.
    schedule = OneCycleLR(sgd(), 1.0, 10, pct_start=0.5, div_factor=10, final_div_factor=100)
    seen = sequence(schedule, 10)
    assert seen[[0, 4, 9], 0] == pytest.approx([0.1, 1.0, 0.001])
    assert seen[2, 0] == pytest.approx(0.55)  # half of the cosine's rise
    assert seen[[0, 4, 9], 1] == pytest.approx([0.95, 0.85, 0.95])
    assert seen[10].tolist() == seen[9].tolist()


def test_one_cycle_with_its_peak_at_step_zero_starts_there():
    # The rise ends at step 0.1 * 10 - 1 = 0 and so has no length.
    assert OneCycleLR(sgd(), 1.0, 10, pct_start=0.1).optimizer.lr == 1.0


def test_one_cycle_in_three_phases_falls_back_to_its_start_and_then_to_its_end():
    # The phases end at steps 4, 8 and 19.
    schedule = OneCycleLR(
        sgd(), 1.0, 20, pct_start=0.25, three_phase=True, anneal_strategy="linear",
        div_factor=10, final_div_factor=100,
    )  # fmt: skip
    seen = sequence(schedule, 19)
    assert seen[[0, 4, 6, 8, 19], 0] == pytest.approx([0.1, 1.0, 0.55, 0.1, 0.001])
    assert seen[[0, 4, 8, 19], 1] == pytest.approx([0.95, 0.85, 0.95, 0.95])


def plateau_rates(metrics, **arguments):
    optimizer, seen = sgd(), []
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, **arguments)
    for metric in metrics:
        schedule.step(metric)
        seen.append(optimizer.lr)
    return seen


def test_plateau_counts_nothing_while_it_cools_down():
    seen = plateau_rates([1.0] * 7, patience=0, cooldown=2)
    assert seen == pytest.approx([0.4, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1])


def test_plateau_stops_at_min_lr():
    seen = plateau_rates([1.0] * 4, patience=0, min_lr=0.15)
    assert seen == pytest.approx([0.4, 0.2, 0.15, 0.15])


def test_plateau_leaves_out_a_reduction_of_no_more_than_eps():
    seen = plateau_rates([1.0] * 4, patience=0, eps=0.125)
    assert seen == pytest.approx([0.4, 0.2, 0.2, 0.2])


def test_plateau_reduces_after_patience_is_exceeded():
    optimizer = sgd()
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    seen = []
    for metric in [1.0, 0.5, 0.5, 0.6, 0.4, 0.4, 0.4]:
        schedule.step(metric)
        seen.append(optimizer.lr)
    assert seen == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_plateau_takes_no_value_that_is_not_finite_for_better(value):
    schedule = ReduceLROnPlateau(sgd(), patience=0, factor=0.5)
    schedule.step(1.0)
    schedule.step(value)
    assert schedule.optimizer.lr == BASE / 2
    assert schedule.best == 1.0


def test_intervals_and_metrics_are_what_fit_needs_to_know():
    optimizer = sgd()
    assert StepLR(optimizer, 1).interval == ExponentialLR(optimizer, 1).interval == "epoch"
    assert ReduceLROnPlateau(optimizer).interval == "epoch"
    assert CosineAnnealingLR(optimizer, 5, interval="batch").interval == "batch"
    assert OneCycleLR(optimizer, 1.0, 5).interval == LinearWarmup(optimizer, 5).interval == "batch"
    assert ReduceLROnPlateau(optimizer).needs_metric and not StepLR(optimizer, 1).needs_metric


def test_lr_at_is_the_sequence_without_stepping():
    optimizer = sgd()
    after = CosineAnnealingLR(optimizer, 7, interval="batch")
    schedule = LinearWarmup(optimizer, 3, after=after)
    foretold = [schedule.lr_at(t) for t in range(12)]
    assert schedule.t == 0 and optimizer.lr == foretold[0]
    assert rates(schedule, 11) == foretold


# --- PyTorch ----------------------------------------------------------------------------------

TIMED = [
    (StepLR, "StepLR", {"step_size": 7}),
    (StepLR, "StepLR", {"step_size": 1, "gamma": 0.9}),
    (MultiStepLR, "MultiStepLR", {"milestones": [30, 2, 2, 80]}),
    (MultiStepLR, "MultiStepLR", {"milestones": [5, 10], "gamma": 0.7}),
    (ExponentialLR, "ExponentialLR", {"gamma": 0.95}),
    (ExponentialLR, "ExponentialLR", {"gamma": 1.01}),
    (CosineAnnealingLR, "CosineAnnealingLR", {"T_max": 120}),
    (CosineAnnealingLR, "CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
    (CosineAnnealingLR, "CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
    (LinearWarmup, "LinearLR", {"total_iters": 5}),
    (LinearWarmup, "LinearLR", {"total_iters": 40, "start_factor": 0.01}),
    (LinearWarmup, "LinearLR", {"total_iters": 1, "start_factor": 1.0}),
]


@pytest.mark.parametrize(("kind", "name", "arguments"), TIMED)
def test_sequence_equals_pytorch(kind, name, arguments):
    torch = pytest.importorskip("torch")
    optimizer = torch_optimizer(torch)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    expected = torch_sequence(theirs, 120, optimizer=optimizer)
    assert_same(sequence(kind(sgd(), **arguments), 120), expected)


ONE_CYCLE = [
    {"total_steps": 100},
    {"epochs": 4, "steps_per_epoch": 13},
    {"total_steps": 37, "pct_start": 0.45, "anneal_strategy": "linear"},
    {"total_steps": 20, "pct_start": 0.0},
    {"total_steps": 20, "pct_start": 1.0},
    {"total_steps": 50, "cycle_momentum": False, "div_factor": 3.0, "final_div_factor": 7.0},
    {"total_steps": 50, "base_momentum": 0.1, "max_momentum": 0.6},
    {"total_steps": 60, "three_phase": True, "pct_start": 0.4},
    {"total_steps": 60, "three_phase": True, "anneal_strategy": "linear"},
    {"total_steps": 2},
    {"total_steps": 1},
]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("arguments", ONE_CYCLE)
def test_one_cycle_equals_pytorch(arguments, kind):
    torch = pytest.importorskip("torch")
    optimizer = torch_optimizer(torch, kind)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.8, **arguments)
    own = sgd() if kind == "SGD" else Adam(sgd().parameters, lr=BASE)
    ours = OneCycleLR(own, 0.8, **arguments)
    # The cycle's last step; PyTorch lets the cosine run beyond its end in one more.
    last = ours.total_steps - 1
    assert_same(sequence(ours, last), torch_sequence(theirs, last, optimizer=optimizer))


PLATEAU = [
    {},
    {"mode": "max", "patience": 2, "factor": 0.3},
    {"patience": 0, "threshold": 0.2},
    {"patience": 0, "threshold": 0.05, "threshold_mode": "abs"},
    {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"patience": 1, "cooldown": 3, "min_lr": 0.02},
    {"patience": 0, "factor": 0.5, "eps": 0.03},
]


@pytest.mark.parametrize("shift", [0.0, -1.0])
@pytest.mark.parametrize("arguments", PLATEAU)
def test_plateau_equals_pytorch(arguments, shift):
    torch = pytest.importorskip("torch")
    theirs_optimizer, ours_optimizer = torch_optimizer(torch), sgd()
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs_optimizer, **arguments)
    ours = ReduceLROnPlateau(ours_optimizer, **arguments)
    rng = np.random.default_rng(5)
    drops = 0
    for i in range(80):
        metric = shift + 0.9**i + 0.1 * rng.random()
        if i % 17 == 16:
            metric = math.nan
        before = ours_optimizer.lr
        ours.step(metric)
        theirs.step(metric)
        assert ours_optimizer.lr == pytest.approx(theirs_optimizer.param_groups[0]["lr"], rel=1e-9)
        drops += ours_optimizer.lr < before
    assert drops >= 1  # else nothing was compared


@pytest.mark.parametrize(
    ("kind", "name", "arguments"), [case for case in TIMED if case[0] is not LinearWarmup]
)
def test_warmup_with_a_schedule_after_it_equals_pytorch(kind, name, arguments):
    torch = pytest.importorskip("torch")
    module = torch.optim.lr_scheduler
    optimizer = torch_optimizer(torch)
    warm = module.LinearLR(optimizer, start_factor=0.1, total_iters=8)
    parts = [warm, getattr(module, name)(optimizer, **arguments)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions warn of how they step the parts
        theirs = module.SequentialLR(optimizer, parts, milestones=[8])
        expected = torch_sequence(theirs, 60, optimizer=optimizer)
    own = sgd()
    ours = LinearWarmup(own, 8, start_factor=0.1, after=kind(own, **arguments, interval="batch"))
    assert_same(sequence(ours, 60), expected)


# --- state --------------------------------------------------------------------------------


def warm_cosine(optimizer):
    after = CosineAnnealingLR(optimizer, 9, eta_min=0.1, interval="batch")
    return LinearWarmup(optimizer, 4, after=after)


MAKERS = {
    "step": lambda o: StepLR(o, 3),
    "multi": lambda o: MultiStepLR(o, [2, 6]),
    "exponential": lambda o: ExponentialLR(o, 0.9),
    "cosine": lambda o: CosineAnnealingLR(o, 5),
    "one_cycle": lambda o: OneCycleLR(o, 1.0, 20),
    "warm-up": lambda o: LinearWarmup(o, 6),
    "warm-up, cosine": warm_cosine,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("steps", [0, 5, 11])
def test_resumed_schedule_goes_on_as_the_uninterrupted_one(make, steps):
    expected = sequence(make(sgd()), 16)
    first = make(sgd())
    sequence(first, steps)
    states = json.loads(json.dumps([first.state_dict(), first.optimizer.hyper_parameters()]))
    # Made from an optimizer that stands elsewhere: base_lr must come out of the state.
    second = make(sgd(lr=0.123, momentum=0.1))
    second.load_state_dict(states[0])
    second.optimizer.lr, second.optimizer.momentum = states[1]["lr"], states[1]["momentum"]
    np.testing.assert_array_equal(sequence(second, 16 - steps), expected[steps:])


@pytest.mark.parametrize("steps", [0, 3, 9])
def test_resumed_plateau_goes_on_as_the_uninterrupted_one(steps):
    metrics = [1.0, 0.9, 0.95, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.7]

    def run(schedule, values):
        for value in values:
            schedule.step(value)
        return schedule.optimizer.lr, schedule.state_dict()

    def make(lr=BASE):
        return ReduceLROnPlateau(sgd(lr), patience=1, cooldown=2, factor=0.5)

    whole = run(make(), metrics)
    assert whole[0] < BASE
    lr, state = run(make(), metrics[:steps])
    second = make(lr)
    second.load_state_dict(json.loads(json.dumps(state)))
    assert run(second, metrics[steps:]) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "StepLR"}, "the state is of 'StepLR'; expected 'LinearWarmup'"),
        ({"extra": 1}, r"unexpected \['extra'\]"),
        ({"t": -1}, "t is -1"),
        ({"base_lr": math.nan}, "base_lr is nan"),
        ({"after": None}, "the state has none .* this warm-up has one"),
        ({"after": {"type": "CosineAnnealingLR", "t": 1}}, r"missing \['base_lr'\]"),
    ],
)
def test_load_of_a_wrong_state_changes_nothing(change, message):
    schedule = warm_cosine(sgd())
    sequence(schedule, 7)
    before = schedule.state_dict()
    other = warm_cosine(sgd(0.9)).state_dict()
    with pytest.raises(ValueError, match=message):
        schedule.load_state_dict({**other, **change})
    assert schedule.state_dict() == before


# --- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: StepLR(None, 3), TypeError, "optimizer is NoneType"),
        (lambda o: StepLR(o, 0), ValueError, "step_size is 0"),
        (lambda o: StepLR(o, 2.0), TypeError, "step_size is 2.0"),
        (lambda o: StepLR(o, 3, interval="step"), ValueError, "interval is 'step'"),
        (lambda o: StepLR(o, 3, last_epoch=2), TypeError, "last_epoch"),
        (lambda o: MultiStepLR(o, [3, -1]), ValueError, r"milestones\[1\] is -1"),
        (lambda o: ExponentialLR(o, math.inf), ValueError, "gamma is inf"),
        (lambda o: CosineAnnealingLR(o, 0), ValueError, "T_max is 0"),
        (lambda o: CosineAnnealingLR(o, 3, eta_min=-1.0), ValueError, "eta_min is -1.0"),
        (lambda o: OneCycleLR(o, 1.0), ValueError, "length of the cycle is missing"),
        (lambda o: OneCycleLR(o, 1.0, epochs=3), ValueError, "length of the cycle is missing"),
        (lambda o: OneCycleLR(o, 1.0, 9, pct_start=1.5), ValueError, "pct_start is 1.5"),
        (lambda o: OneCycleLR(o, 1.0, 9, div_factor=0), ValueError, "div_factor is 0"),
        (lambda o: OneCycleLR(o, 1.0, 9, anneal_strategy="sin"), ValueError, "anneal_strategy is"),
        (lambda o: ReduceLROnPlateau(o, "less"), ValueError, "mode is 'less'"),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "factor is 1.0"),
        (lambda o: ReduceLROnPlateau(o, threshold_mode=1), ValueError, "threshold_mode is 1"),
        (lambda o: ReduceLROnPlateau(o).step(None), TypeError, "metric is None"),
        (lambda o: ReduceLROnPlateau(o).step(), TypeError, "metric"),
        (lambda o: LinearWarmup(o, 3, start_factor=0.0), ValueError, "start_factor is 0.0"),
        (lambda o: LinearWarmup(o, 3, after=0.1), TypeError, "after is float"),
        (warm_plateau_without_metric, TypeError, "got no metric"),
        (lambda o: LinearWarmup(o, 3, after=StepLR(o, 1)), ValueError, "interval='batch' to it"),
        (
            lambda o: LinearWarmup(o, 3, after=StepLR(sgd(), 1, interval="batch")),
            ValueError,
            "another optimizer",
        ),
    ],
)
def test_schedule_with_a_wrong_argument_names_it(make, error, message):
    with pytest.raises(error, match=message):
        make(sgd())


def test_one_cycle_beyond_its_end_is_a_value_error():
    schedule = OneCycleLR(sgd(), 1.0, 3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="step 4 of a cycle of 3"):
        schedule.step()
    assert schedule.t == 3


def test_one_cycle_of_an_optimizer_without_momentum_says_so():
    class Plain(Optimizer):
        hyper_parameter_names = ("lr",)
        slot_names = ()

        def checked(self, **values):
            return values

    optimizer = Plain(sgd().parameters, lr=0.1)
    with pytest.raises(ValueError, match="Plain has no momentum; use cycle_momentum=False"):
        OneCycleLR(optimizer, 1.0, 5)
    assert OneCycleLR(optimizer, 1.0, 5, cycle_momentum=False).t == 0
