"""Optimizer kernels against the oracle over ten steps, and the norm for clipping."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close, assert_same_bits

from kernels.harness import InOut, float32, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels import optim

LENGTHS = [*range(1, 18), 100, 8191, 8192, 8193, 24581]
STEPS = 10
# A handful of float32 roundings in each of ten steps, of numbers as large as the parameter.
TOLERANCE = 4 * STEPS * UNIT_ROUNDOFF

SGD = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
]
ADAM = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled": True},
    {"beta1": 0.0, "beta2": 0.5, "eps": 0.1},
    {"lr": 0.1, "eps": 1e-3},
]


def sgd_arguments(lr=0.05, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    return lr, momentum, dampening, weight_decay, nesterov


def adam_arguments(lr=0.05, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False):
    return lr, beta1, beta2, eps, weight_decay, decoupled


@pytest.mark.parametrize("options", SGD)
def test_sgd_ten_steps_equal_oracle(options):
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        param = normal(rng, length)
        # Before the first step the buffer holds anything: it must not be read.
        buffer = np.full(length, np.nan, np.float32) if options.get("momentum") else None
        want, want_buffer, reach = param, None, np.abs(param).astype(float)
        for step in range(STEPS):
            grad = normal(rng, length)
            numbers = (*sgd_arguments(**options), step == 0)
            if buffer is None:
                param = run(optim.sgd_step, InOut(param), grad, None, *numbers)
            else:
                param, buffer = run(optim.sgd_step, InOut(param), grad, InOut(buffer), *numbers)
            want, want_buffer = reference.sgd_step(want, grad, want_buffer, lr=0.05, **options)
            reach = np.maximum(reach, np.abs(want)) + 0.05 * np.abs(grad)
        assert_close(param, want, TOLERANCE, reach)
        if buffer is not None:
            assert_close(buffer, want_buffer, TOLERANCE, 10 * reach)


@pytest.mark.parametrize("options", ADAM)
def test_adam_ten_steps_equal_oracle(options):
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        param, lr = normal(rng, length), options.get("lr", 0.05)
        moments = np.zeros(length, np.float32), np.zeros(length, np.float32)
        want, want_moments, reach = param, moments, np.abs(param).astype(float)
        for step in range(1, STEPS + 1):
            grad = normal(rng, length)
            param, *moments = run(
                optim.adam_step, InOut(param), grad, *map(InOut, moments),
                *adam_arguments(**options), step,
            )  # fmt: skip
            want, *want_moments = reference.adam_step(
                want, grad, *want_moments, step=step, **{"lr": 0.05, **options}
            )
            reach = np.maximum(reach, np.abs(want)) + lr
        assert_close(param, want, TOLERANCE, reach)
        assert_close(moments[0], want_moments[0], TOLERANCE, 1 + np.abs(want_moments[0]))
        assert_close(moments[1], want_moments[1], TOLERANCE)


def test_adam_late_step_needs_no_correction_and_stays_finite():
    one = np.ones(3, np.float32)
    for step in (10**6, 2**31 - 1, 2**31, 2**31 + 1, 2**63 - 1):
        param, _, _ = run(
            optim.adam_step, InOut(one), one, InOut(one), InOut(one), *adam_arguments(), step
        )
        want = reference.adam_step(one, one, one, one, step=step, lr=0.05)[0]
        assert_close(param, want, TOLERANCE)


def test_grad_norm_equals_oracle():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        length = LENGTHS[seed] if seed < len(LENGTHS) else int(rng.integers(1, 3000))
        grad = normal(rng, length) * np.float32(10.0 ** rng.integers(-15, 16))
        norm = run(optim.grad_norm, grad)
        assert_close(norm, np.linalg.norm(grad.astype(np.float64)), 1e-12)


def test_grad_norm_extremes():
    assert run(optim.grad_norm, np.empty(0, np.float32)) == 0
    assert run(optim.grad_norm, np.zeros(5, np.float32)) == 0
    huge = run(optim.grad_norm, np.full(10_000, 3e38, np.float32))
    assert huge == pytest.approx(100 * float(np.float32(3e38)), rel=1e-12)
    assert np.isnan(run(optim.grad_norm, float32([1.0, np.nan, 2.0])))
    assert run(optim.grad_norm, float32([1.0, -np.inf, 2.0])) == np.inf


def test_scale_multiplies_every_element_once():
    for length in [*LENGTHS, *range(20, 110)]:
        grad = normal(np.random.default_rng(length), length)
        scaled = run(optim.scale, InOut(grad), 0.3)
        assert_same_bits(scaled, grad * np.float32(0.3))


def test_average_step_ten_steps_equal_oracle():
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        average = normal(rng, length)
        want, reach = average.astype(np.float64), np.abs(average).astype(np.float64)
        for step in range(STEPS):
            value, rate = normal(rng, length), step / STEPS
            average = run(optim.average_step, InOut(average), value, rate)
            want = (1 - rate) * want + rate * value
            reach = np.maximum(reach, np.abs(value))
        assert_close(average, want, TOLERANCE, reach)


def test_clipping_by_norm_and_scale_equals_oracle():
    grads = [normal(np.random.default_rng(seed), 50) for seed in range(3)]
    clipped, norm = reference.clip_grad_norm(grads, 1.0)
    flat = np.concatenate(grads)
    ours = run(optim.grad_norm, flat)
    assert_close(ours, norm, 1e-12)
    scaled = run(optim.scale, InOut(flat), min(1.0, 1.0 / (ours + 1e-6)))
    assert_close(scaled, np.concatenate(clipped), 2 * UNIT_ROUNDOFF)


def test_sgd_impossible_numbers_are_refused():
    one = np.ones(3, np.float32)
    numbers = (*sgd_arguments(momentum=0.9), True)
    refuse(optim.sgd_step, InOut(one), one, None, *numbers, match="needs a buffer")
    for wrong in ({"nesterov": True}, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}):
        numbers = (*sgd_arguments(**wrong), True)
        refuse(optim.sgd_step, InOut(one), one, InOut(one), *numbers, match="nesterov needs")


def test_adam_impossible_numbers_are_refused():
    one = np.ones(3, np.float32)
    arrays = InOut(one), one, InOut(one), InOut(one)
    for step in (0, -1, -(2**31), -(2**63)):
        refuse(optim.adam_step, *arrays, *adam_arguments(), step, match="step must be at least 1")
    for name in ("beta1", "beta2"):
        for value in (-0.1, 1.0, 2.0, np.nan):
            numbers = (*adam_arguments(**{name: value}), 1)
            refuse(optim.adam_step, *arrays, *numbers, match=f"{name} must be")


@pytest.mark.parametrize(
    "kernel",
    [optim.sgd_step, optim.adam_step, optim.grad_norm, optim.scale, optim.average_step],
)
def test_optim_wrong_arrays_and_threads_are_refused(kernel):
    one = np.ones(3, np.float32)
    arguments = {
        optim.sgd_step: (InOut(one), one, InOut(one), *sgd_arguments(momentum=0.9), True),
        optim.adam_step: (InOut(one), one, InOut(one), InOut(one), *adam_arguments(), 1),
        optim.grad_norm: (one,),
        optim.scale: (InOut(one), 0.5),
        optim.average_step: (InOut(one), one, 0.5),
    }[kernel]
    refuse_wrong_arrays(kernel, *arguments)
    refuse_threads(kernel, *arguments)
    arrays = [i for i, value in enumerate(arguments) if isinstance(value, (np.ndarray, InOut))]
    for number in arrays[1:]:
        for length in (0, 2, 4):
            other = np.ones(length, np.float32)
            wrong = InOut(other) if isinstance(arguments[number], InOut) else other
            trial = [*arguments[:number], wrong, *arguments[number + 1 :]]
            refuse(kernel, *trial, match="has shape")
