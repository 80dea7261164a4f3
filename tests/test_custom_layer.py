"""A layer written in Python trains, is checked, saved and loaded like the built-in ones."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run_script(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(SCRIPTS / name))


def test_linear_by_hand_script_agrees_with_the_hand(monkeypatch, capsys):
    run_script("linear_by_hand.py", monkeypatch=monkeypatch)
    assert capsys.readouterr().out.count("as by hand") == 4


def test_custom_layer_script_learns_digits_and_slopes(monkeypatch, capsys):
    made = run_script("custom_layer.py", "--epochs", "3", monkeypatch=monkeypatch)
    assert "all gradients agree" in capsys.readouterr().out
    assert made["result"]["accuracy"] > 0.85  # 0.10 is guessing
    assert np.ptp(made["model"][1].slopes()) > 0.01  # they all started at 0.25


@pytest.mark.parametrize("name", ["linear_by_hand.py", "custom_layer.py"])
def test_script_is_at_most_sixty_lines(name):
    assert len((SCRIPTS / name).read_text().splitlines()) <= 60


class Gain(mc.Layer):
    """y = gain · x, gain a single number; the arithmetic is easy to do by hand."""

    def __init__(self, start=2.0):
        super().__init__()
        self.start = start

    def parameter_shapes(self):
        return {"gain": (1,)}

    def initial_parameter(self, name, shape, seed, stream):
        return np.full(shape, self.start, np.float32)

    def forward(self, x):
        x = self.prepare(x)
        self.save_for_backward(x)
        return x * self.named_parameters()["gain"].data

    def backward(self, dy):
        x = self.saved()
        dy = self.prepare_gradient(dy, x.shape)
        gain = self.named_parameters()["gain"]
        gain.grad[...] = (dy * x).sum()
        return dy * gain.data


class GainWithoutGradient(Gain):
    def backward(self, dy):
        return self.prepare_gradient(dy, self.saved().shape) * self.named_parameters()["gain"].data


def test_custom_layer_alone_gives_the_hand_computed_numbers():
    layer = Gain()
    np.testing.assert_array_equal(layer.forward([[1.0, -3.0]]), [[2, -6]])
    np.testing.assert_array_equal(layer.backward([[0.5, 1.0]]), [[1, 2]])
    np.testing.assert_array_equal(layer.parameters()[0].grad, [0.5 * 1 - 3])


def test_custom_layer_without_its_gradient_is_found():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    for layer, names in ((Gain(), set()), (GainWithoutGradient(), {"gain"})):
        model = mc.Sequential(layer, mc.Linear(3, 2), seed=0)
        result = mc.gradcheck(model, x, np.array([0, 1, 0, 1]))
        assert {row.name for row in result.wrong if row.layer != "whole model"} == names


def test_custom_layer_in_a_sequential_is_updated_with_its_neighbours():
    model = mc.Sequential(mc.Linear(3, 3), Gain(), mc.Linear(3, 2), seed=0)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    first = [model.train_step(x, y, mc.CrossEntropyLoss(), optimizer) for _ in range(20)]
    assert first[-1] < first[0] / 2
    assert model.state_dict()["1.gain"] != 2


def test_custom_layer_saved_model_loads_only_with_its_class_named(tmp_path):
    model = mc.Sequential(Gain(3.0), mc.Linear(2, 2), seed=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = mc.load(path, custom_layers=[Gain])
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded[0].start == 3.0
    with pytest.raises(ValueError, match="Gain"):
        mc.load(path)
