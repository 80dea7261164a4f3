"""Both passes of a plan against the float64 oracle, and with any number of threads."""

import copy

import numpy as np
from checks import THREADS, assert_close, assert_same_bits

import minicnn as mc
from engine.nets import oracle_passes

# docs/numerics.md: a step of a small net is off by about 1e-6 of the largest value.
NET_TOLERANCE = 1e-5


def batch_of(model, shape, batch=7):
    g = np.random.default_rng(len(shape) + batch)
    x = g.normal(size=(batch, *shape)).astype(np.float32)
    dy = g.normal(size=(batch, *model.build(shape).output_shape(shape))).astype(np.float32)
    return x, dy


def both_passes(model, x, dy, threads=1):
    """(y, gradients by name, operations of the plan) of a copy of the model."""
    mc.set_num_threads(threads)
    model = copy.deepcopy(model)
    model.flat_gradients[...] = np.nan
    passes = model.passes_for(x)
    y = passes.forward(x)
    passes.backward(dy)
    gradients = {name: p.grad.copy() for name, p in model.named_parameters().items()}
    return y, gradients, passes.plan.operations


def check(model, shape, batch=7):
    """Returns the plan's operations."""
    x, dy = batch_of(model, shape, batch)
    y, gradients, operations = both_passes(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    assert_close(y, expected_y, NET_TOLERANCE, np.abs(expected_y).max())
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert_close(gradients[name], value, NET_TOLERANCE, scale, may_be_zero=True)
    for threads in THREADS[1:]:
        _, again, _ = both_passes(model, x, dy, threads)
        for name in gradients:
            assert_same_bits(again[name], gradients[name])
    return operations
