"""Starting weights: bounds, spread, and what they depend on."""

import math

import numpy as np
import pytest

import minicnn as mc
from minicnn.initializers import INITIALIZERS, fans

LINEAR, CONV = (40, 90), (12, 8, 3, 3)  # 3,600 and 864 values


def test_fans_count_inputs_and_outputs():
    assert fans((5, 7)) == (7, 5)
    assert fans((5, 7, 2, 3)) == (42, 30)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize(
    ("name", "variance", "bounded"),
    [
        ("default", lambda fan_in, fan_out: 1 / (3 * fan_in), True),
        ("kaiming_uniform", lambda fan_in, fan_out: 2 / fan_in, True),
        ("kaiming_normal", lambda fan_in, fan_out: 2 / fan_in, False),
        ("xavier_uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out), True),
        ("xavier_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out), False),
    ],
)
def test_variance_and_bound_are_those_of_the_papers(name, variance, bounded, shape):
    values = INITIALIZERS[name](shape, 5, 1)
    assert values.dtype == np.float32 and values.shape == shape
    deviation = math.sqrt(variance(*fans(shape)))
    # The deviation of 864 draws is within 1/√(2·864) = 2.4 % of the true one, usually: 4σ.
    assert np.std(values) == pytest.approx(deviation, rel=0.1)
    assert abs(np.mean(values)) < 4 * deviation / math.sqrt(values.size)
    largest = np.abs(values).max() / deviation
    if bounded:
        assert 0.99 * math.sqrt(3) < largest <= math.sqrt(3) * (1 + 1e-6)
    else:
        assert 2.8 < largest < 6


@pytest.mark.parametrize("name", INITIALIZERS)
def test_values_depend_on_seed_and_stream_only(name):
    draw = INITIALIZERS[name]
    first = draw(LINEAR, 1, 2).tobytes()
    assert draw(LINEAR, 1, 2).tobytes() == first
    assert len({first, draw(LINEAR, 2, 2).tobytes(), draw(LINEAR, 1, 3).tobytes()}) == 3


@pytest.mark.parametrize("make", [lambda **k: mc.Linear(9, 30, **k),
                                  lambda **k: mc.Conv2d(1, 30, 3, **k)])  # fmt: skip
def test_layers_use_the_named_initializer_and_pytorchs_for_the_bias(make):
    drawn = {name: make(init=name) for name in INITIALIZERS}
    assert len({layer.weight.data.tobytes() for layer in drawn.values()}) == len(INITIALIZERS)
    for name, layer in drawn.items():
        assert layer.weight.data.tobytes() == INITIALIZERS[name](layer.weight.shape, 0, 0).tobytes()
        assert 0.2 < np.abs(layer.bias.data).max() <= 1 / 3  # 1/√9


def test_a_grouped_convolution_counts_the_inputs_of_one_group():
    bound = np.abs(mc.Conv2d(8, 64, 1, groups=4).weight.data).max()
    assert 0.95 / math.sqrt(2) < bound <= 1 / math.sqrt(2)
