"""gradcheck says ok to right gradients and WRONG to wrong ones, and says where."""

import copy

import numpy as np
import pytest
from random_nets import random_net

import minicnn as mc
from minicnn.gradient_check import gradcheck


def data(shape, classes=3, batch=4, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(batch, *shape)).astype(np.float32), np.arange(batch) % classes


def wrong_rows(result):
    return {(row.layer, row.name) for row in result.wrong}


# --- right gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(12))
def test_gradcheck_random_net_over_all_layers_passes(block):
    for seed in range(10 * block, 10 * block + 10):
        model, x, y = random_net(seed)
        if seed % 4 == 3:
            model.forward(x)  # gives BatchNorm statistics to use
            model.eval()
        result = gradcheck(model, x, y, seed=seed)
        assert result.passed, f"seed {seed}: {model}\n{result}"


def test_random_nets_together_hold_every_layer():
    seen = set()
    for seed in range(120):
        seen |= {type(layer) for layer in random_net(seed)[0]}
    layers = {getattr(mc, name) for name in mc.layers.__all__}
    assert seen == {c for c in layers if isinstance(c, type) and c.__name__ not in NOT_LAYERS}


NOT_LAYERS = ("Layer", "Parameter", "ShapeError", "inference")


def test_gradcheck_zeros_and_ties_in_the_input_pass():
    model = mc.Sequential(mc.ReLU(), mc.MaxPool2d(2), mc.ReLU(), mc.Linear(None, 3))
    x, y = data((2, 6, 6))
    assert gradcheck(model, np.maximum(np.round(x), 0), y).passed


@pytest.mark.parametrize("scale", (1e-3, 1.0, 1e3))
def test_gradcheck_inputs_of_any_scale_pass(scale):
    model = mc.Sequential(mc.Conv2d(2, 3, 3), mc.BatchNorm2d(3), mc.ReLU(), mc.Linear(None, 3))
    x, y = data((2, 6, 6))
    assert gradcheck(model, scale * x, y).passed


def test_gradcheck_weighted_smoothed_loss_passes():
    model = mc.Sequential(mc.Linear(5, 3))
    x, y = data((5,))
    loss_fn = mc.CrossEntropyLoss(weight=[1, 2, 3], ignore_index=1, label_smoothing=0.1)
    assert gradcheck(model, x, y, loss_fn).passed


def test_gradcheck_confident_model_passes():
    model = mc.Sequential(mc.Linear(5, 3), seed=1)
    x, y = data((5,))
    model.flat_parameters[...] *= 100
    assert gradcheck(model, x, model(x).argmax(axis=1)).passed


def test_gradcheck_leaves_the_model_as_it_was():
    model = mc.Sequential(
        mc.Conv2d(1, 2, 3), mc.BatchNorm2d(2), mc.Dropout(0.5), mc.Linear(None, 3), seed=3
    )
    x, y = data((1, 6, 6))
    loss_fn = mc.CrossEntropyLoss()
    loss_fn(model(x), y)
    model.backward(loss_fn.backward())
    before, gradients = copy.deepcopy(model), model.flat_gradients.copy()
    kept, kept_x = loss_fn.backward(), x.copy()
    gradcheck(model, x, y, loss_fn)
    for name, array in before.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array, strict=True)
    np.testing.assert_array_equal(model.flat_gradients, gradients)
    np.testing.assert_array_equal(loss_fn.backward(), kept)
    np.testing.assert_array_equal(x, kept_x)
    assert model.generator_steps() == before.generator_steps()
    assert model.training


# --- wrong gradients ----------------------------------------------------------------------------


class FlippedReLU(mc.ReLU):
    def backward(self, dy):
        return -super().backward(dy)


class NoDropScale(mc.Dropout):
    def backward(self, dy):
        return super().backward(dy) * (1 - self.p)


class ZeroInput(mc.Tanh):
    def backward(self, dy):
        return 0 * super().backward(dy)


class ForgetsDerivative(mc.Sigmoid):
    def backward(self, dy):
        return np.array(dy)


class ShiftedMaxPool(mc.MaxPool2d):
    def backward(self, dy):
        return np.roll(super().backward(dy), 1, axis=3)


class ShortAvgPool(mc.AvgPool2d):
    def backward(self, dy):
        dx = super().backward(dy)
        dx[..., -1] = 0  # the loop ends one column early
        return dx


class OverwritingMaxPool(mc.MaxPool2d):
    """Overlapping windows overwrite each other's gradient where they should add."""

    def backward(self, dy):
        winners, shape = self.saved()
        dx = np.zeros((*shape[:2], shape[2] * shape[3]), np.float32)
        for n, c, h, w in np.ndindex(dy.shape):
            dx[n, c, winners[n, c, h, w]] = dy[n, c, h, w]
        return dx.reshape(shape)


class TransposedWeight(mc.Linear):
    def backward(self, dy):
        super().backward(dy)
        return (dy @ self.weight.data.T).reshape(self.saved().shape)


class FlippedKernel(mc.Conv2d):
    def backward(self, dy):
        weight = self.weight.data
        weight[...] = weight[..., ::-1, ::-1].copy()
        dx = super().backward(dy)
        weight[...] = weight[..., ::-1, ::-1].copy()
        return dx


class FlippedWeight(mc.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[...] *= -1
        return dx


class ForgetsBias(mc.Linear):
    def backward(self, dy):
        kept = self.bias.grad.copy()
        dx = super().backward(dy)
        self.bias.grad[...] = kept
        return dx


class ZeroBias(mc.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad[...] = 0
        return dx


class Accumulates(mc.Linear):
    def backward(self, dy):
        kept = self.weight.grad.copy()
        dx = super().backward(dy)
        self.weight.grad[...] += kept
        return dx


class MeansTwice(mc.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[...] /= len(dy)
        return dx


class ConstantStatistics(mc.BatchNorm2d):
    """Leaves out that mean and variance depend on the batch."""

    def backward(self, dy):
        _, x3, _ = self.saved()
        super().backward(dy)
        inv_std = 1 / np.sqrt(x3.var(axis=(0, 2)) + self.eps)
        return dy * (self.weight.data * inv_std)[:, None, None]


class NoWeight(mc.BatchNorm2d):
    """Right only while the weight is 1, as it is at first."""

    def backward(self, dy):
        return super().backward(dy) / self.weight.data[:, None, None]


@pytest.mark.parametrize(
    "layer, name",
    [
        (FlippedReLU(), "input"),
        (NoDropScale(0.5), "input"),
        (ZeroInput(), "input"),
        (ForgetsDerivative(), "input"),
        (ShiftedMaxPool(2), "input"),
        (ShortAvgPool(3, stride=1), "input"),
        (OverwritingMaxPool(3, stride=1), "input"),
        (FlippedKernel(2, 3, 3), "input"),
        (ConstantStatistics(2), "input"),
        (NoWeight(2), "input"),
        (TransposedWeight(72, 72), "input"),
        (FlippedWeight(72, 6), "weight"),
        (ForgetsBias(72, 6), "bias"),
        (ZeroBias(72, 6), "bias"),
        (Accumulates(72, 6), "weight"),
        (MeansTwice(72, 6), "weight"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, mc.Layer) else value,
)
def test_gradcheck_wrong_layer_is_named_and_no_other(layer, name):
    x, y = data((2, 6, 6))
    model = mc.Sequential(mc.Identity(), layer, mc.Linear(None, 3), seed=0)
    result = gradcheck(model, x, y)
    found = wrong_rows(result) - {("whole model", row.name) for row in result.rows}
    assert found == {(f"1 {type(layer).__name__}", name)}, str(result)
    assert not result.passed


class OneElementOff(mc.Linear):
    """One value of the weight's gradient is 5 % too large; `element` says which."""

    element: tuple[int, int]

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[self.element] *= 1.05
        return dx


@pytest.mark.parametrize("seed", range(10))
def test_gradcheck_one_element_of_many_off_by_five_percent_is_found(seed):
    layer = OneElementOff(200, 40)  # 8,000 values, of which 24 are tested one by one
    layer.element = tuple(int(i) for i in np.random.default_rng(seed).integers((40, 200)))
    x, y = data((200,), seed=seed)
    model = mc.Sequential(layer, mc.ReLU(), mc.Linear(40, 3), seed=seed)
    x, y = large_at(model, layer.element, x), y
    row = next(r for r in gradcheck(model, x, y, seed=seed).rows if r.name == "weight")
    assert row.verdict == "WRONG"
    assert row.index == layer.element
    assert row.error == pytest.approx(0.05 / 1.05, rel=0.05)  # against the larger of the two


def large_at(model, element, x):
    """Inputs for which that gradient is not by chance close to zero."""
    x[:, element[1]] = np.abs(x[:, element[1]]) + 0.5
    return x


class ForgetsMean(mc.CrossEntropyLoss):
    def backward(self):
        return super().backward() * 4  # the batch size: 1/N is missing


def test_gradcheck_loss_without_its_mean_is_found():
    x, y = data((5,))
    result = gradcheck(mc.Sequential(mc.Linear(5, 3)), x, y, ForgetsMean())
    assert ("ForgetsMean", "logits") in wrong_rows(result)


class SkipsALayer(mc.Sequential):
    def backward(self, dy):
        for layer in (self.layers[2], self.layers[0]):
            dy = layer.backward(dy)
        return dy


def test_gradcheck_layer_left_out_of_the_chain_is_found_by_the_whole_model():
    x, y = data((5,))
    model = SkipsALayer(mc.Linear(5, 6), mc.Tanh(), mc.Linear(6, 3), seed=0)
    model.flat_parameters[...] *= 3  # so that tanh is bent
    assert {row.layer for row in gradcheck(model, x, y).wrong} == {"whole model"}


class Restless(mc.Layer):
    """Gives another answer every time."""

    calls = 0

    def forward(self, x):
        Restless.calls += 1
        self.save_for_backward(x)
        return x * np.float32(1 + 0.1 * (Restless.calls % 7))

    def backward(self, dy):
        return np.array(dy)


def test_gradcheck_forward_that_never_repeats_is_refused():
    x, y = data((5,))
    with pytest.raises(ValueError, match="0 Restless: forward gave two different outputs"):
        gradcheck(mc.Sequential(Restless(), mc.Linear(5, 3)), x, y)


# --- corners and the table ------------------------------------------------------------------------


def test_gradcheck_gradient_of_another_shape_is_wrong():
    class Flat(mc.Tanh):
        def backward(self, dy):
            return super().backward(dy).reshape(-1)

    x, y = data((5,))
    row = gradcheck(mc.Sequential(Flat(), mc.Linear(5, 3)), x, y).rows[0]
    assert row.verdict == "WRONG"
    assert row.error == np.inf


def test_gradcheck_table_names_layers_errors_and_verdicts():
    x, y = data((1, 4, 4))
    model = mc.Sequential(mc.Conv2d(1, 2, 3), FlippedReLU(), mc.Linear(None, 3))
    text = str(gradcheck(model, x, y))
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["layer", "gradient", "of"]
    assert any(line.startswith("0 Conv2d") and line.endswith("ok") for line in lines)
    assert any(line.startswith("1 FlippedReLU") and line.endswith("WRONG") for line in lines)
    assert lines[-1] == "2 of 9 WRONG (tolerance 0.01)"


def test_gradcheck_same_seed_same_table():
    x, y = data((1, 4, 4))
    model = mc.Sequential(mc.Conv2d(1, 2, 3), mc.ReLU(), mc.Linear(None, 3))
    assert str(gradcheck(model, x, y)) == str(gradcheck(model, x, y))


def test_gradcheck_labels_of_wrong_type_are_refused():
    x, y = data((5,))
    with pytest.raises(TypeError, match="labels must be integers"):
        gradcheck(mc.Sequential(mc.Linear(5, 3)), x, y.astype(float))
