"""Dropout in plans: the choices of the oracle, wherever a sample's units begin among four."""

import numpy as np
import pytest

import minicnn as mc
from engine.agreement import check


@pytest.mark.parametrize("p", (0.0, 0.3, 1.0))
@pytest.mark.parametrize("units", (1, 3, 7, 32, 33, 70, 130))
def test_units_of_rows(units, p):
    """A counter gives four choices, so samples begin anywhere in what a vector of them gives."""
    layers = [mc.Linear(6, units), mc.ReLU(), mc.Dropout(p), mc.Linear(units, 3)]
    check(mc.Sequential(*layers, seed=units), (6,), batch=9)


@pytest.mark.parametrize("p", (0.3, 1.0))
@pytest.mark.parametrize("layer", (mc.Dropout, mc.Dropout2d))
@pytest.mark.parametrize("channels", (1, 17, 34))
def test_units_of_maps(channels, layer, p):
    """Between convolutions, so that the units stay a map."""
    layers = [
        mc.Conv2d(16, channels, 3), layer(p), mc.Conv2d(channels, 4, 1), mc.Linear(None, 3),
    ]  # fmt: skip
    check(mc.Sequential(*layers, seed=channels), (16, 5, 7), batch=5)


def test_a_dropped_infinity_is_zero():
    """Not 0 times infinity, which is NaN."""
    model = mc.Sequential(mc.Linear(1, 5), mc.Dropout(1.0), mc.Linear(5, 2), seed=0).build((1,))
    y = model.passes_for(x := np.full((3, 1), np.inf, np.float32)).forward(x)
    np.testing.assert_array_equal(y, np.tile(model[-1].bias.data, (3, 1)))
