"""A trace's terms add up to what the layer computed, and are the right ones."""

import copy

import numpy as np
import pytest
from random_nets import random_net

import minicnn as mc
from minicnn.trace.terms import Rule, term


def agrees(trace):
    """Whether sum and computed value differ by rounding only.

    A float32 sum of m terms is off by at most m · 2⁻²⁴ times the sum of their sizes; the factors
    themselves (statistics, slopes) are rounded a few times on the way: 8 more.
    """
    if trace.rule.largest:
        return trace.total == trace.computed
    size = sum(abs(t.product) for t in trace.terms)
    return abs(trace.total - trace.computed) <= (len(trace.terms) + 8) * 2.0**-24 * size + 1e-9


def arrays_of(model, x, y):
    """Shape of every array that can be traced: (layer, of) → shape."""
    shapes = {}
    for name, layer in model.leaves().items():
        shapes[name, "input"] = x.shape
        x = layer.forward(x)
        shapes[name, "output"] = x.shape
        for key, p in layer.named_parameters().items():
            shapes[name, key] = p.shape
    return shapes


@pytest.mark.parametrize("block", range(8))
def test_trace_random_nets_over_all_layers_sums_to_the_computed_values(block):
    for seed in range(8 * block, 8 * block + 8):
        model, x, y = random_net(seed)
        if len(x) < 3:
            continue  # BatchNorm over two values: its gradient is what rounding leaves
        model.forward(x)
        model.train(seed % 4 != 3)
        g = np.random.default_rng(seed)
        for (name, of), shape in arrays_of(copy.deepcopy(model), x, y).items():
            index = tuple(int(g.integers(size)) for size in shape)
            trace = model.trace(x, name, index, of, y)
            assert agrees(trace), f"seed {seed} {model}\n{trace}"


def example():
    model = mc.Sequential(mc.Linear(2, 2), mc.ReLU(), seed=0)
    model[0].weight.data[...] = [[1, 2], [3, 4]]
    model[0].bias.data[...] = [0.5, -0.5]
    return model, np.array([[1, -2], [0.25, 1]], np.float32), np.array([0, 1])


def test_trace_linear_output_lists_every_product_and_the_bias():
    model, x, _ = example()
    trace = model.trace(x, 0, (1, 0))
    assert [[(f.name, f.index, f.value) for f in t.factors] for t in trace.terms] == [
        [("weight", (0, 0), 1.0), ("x", (1, 0), 0.25)],
        [("weight", (0, 1), 2.0), ("x", (1, 1), 1.0)],
        [("bias", (0,), 0.5)],
    ]
    assert [t.product for t in trace.terms] == [0.25, 2.0, 0.5]
    assert trace.total == trace.computed == 2.75


def test_trace_linear_output_prints_as_a_table():
    model, x, _ = example()
    assert str(model.trace(x, 0, (1, 0))) == (
        "layer 0 Linear(in_features=2, out_features=2): y[1, 0]\n"
        "  y[n,k] = Σ_i weight[k,i] · x[n,i] + bias[k]\n"
        "    weight[0, 0] · x[1, 0] = 1 · 0.25 = 0.25\n"
        "    weight[0, 1] · x[1, 1] = 2 · 1    = 2\n"
        "    bias[0]                = 0.5      = 0.5\n"
        "  sum of 3 terms: 2.75\n"
        "  computed by the layer: 2.75"
    )


def test_trace_weight_gradient_sums_over_the_samples():
    model, x, y = example()
    trace = model.trace(x, 0, (0, 1), "weight", y)
    assert [t.factors[1].index for t in trace.terms] == [(0, 1), (1, 1)]
    loss_fn = mc.CrossEntropyLoss()
    loss_fn(model(x), y)
    model.backward(loss_fn.backward())
    assert trace.computed == model[0].weight.grad[0, 1]
    assert agrees(trace)


def test_trace_feature_map_into_linear_names_channel_row_and_column():
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    trace = mc.Sequential(mc.Linear(8, 2)).trace(x, 0, (0, 1))
    assert [t.factors[1].index for t in trace.terms[:-1]] == list(np.ndindex(1, 2, 2, 2))
    assert [t.factors[1].value for t in trace.terms[:-1]] == list(range(8))


def test_trace_long_sum_is_cut_with_count_and_rest():
    x = np.ones((1, 100), np.float32)
    trace = mc.Sequential(mc.Linear(100, 2)).trace(x, 0, (0, 1))
    lines = str(trace).splitlines()
    assert len(trace.terms) == 101
    assert len(lines) == 2 + 28 + 1 + 2
    assert lines[30].startswith("  … 73 more terms, together ")


def test_trace_max_pool_takes_the_largest_and_its_gradient_the_won_windows():
    x = np.array([[1, 3, 2], [0, 1, 1], [5, 0, 0]], np.float32).reshape(1, 1, 3, 3)
    model = mc.Sequential(mc.MaxPool2d(2, stride=1), mc.Linear(4, 2))
    trace = model.trace(x, 0, (0, 0, 0, 1))
    assert [t.product for t in trace.terms] == [3, 2, 1, 1]
    assert trace.total == trace.computed == 3
    gradient = model.trace(x, 0, (0, 0, 0, 1), "input", [0])
    assert [t.factors[0].index for t in gradient.terms] == [(0, 0, 0, 0), (0, 0, 0, 1)]
    assert agrees(gradient)


def test_trace_loss_gradient_is_probability_minus_target():
    model = mc.Sequential(mc.Linear(4, 3), seed=2)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    y = np.array([0, 1, 2, 1, 0])
    loss_fn = mc.CrossEntropyLoss(weight=[1, 2, 3], ignore_index=2, label_smoothing=0.2)
    for n, k in np.ndindex(5, 3):
        for loss in (None, loss_fn):
            assert agrees(model.trace(x, "loss", (n, k), y=y, loss_fn=loss)), (n, k, loss)
    assert model.trace(x, "loss", (2, 0), y=y, loss_fn=loss_fn).terms == []


def test_trace_layer_of_an_inner_sequential_by_dotted_name():
    model = mc.Sequential(mc.Sequential(mc.Linear(3, 4), mc.Tanh()), mc.Linear(4, 2))
    x = np.ones((1, 3), np.float32)
    trace = model.trace(x, "0.1", (0, 2))
    assert trace.computed == model[0].forward_by_layers(x)[0, 2]


def test_trace_leaves_the_model_as_it_was():
    model = mc.Sequential(mc.BatchNorm1d(3), mc.Dropout(0.5), mc.Linear(3, 2), seed=1)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    model.build((3,))
    before = model.state_dict()
    model.trace(x, 2, (0, 1), "weight", [0, 1, 0, 1])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], strict=True)
    assert model.generator_steps() == {"1": 0}
    assert not model.flat_gradients.any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((7, (0, 0)), "layer is '7'; expected one of 0, 1 or 'loss'"),
        ((0, (0, 2)), r"has shape \(2, 2\); index \(0, 2\) is no place in it"),
        ((0, (0,)), r"has shape \(2, 2\); index \(0,\) is no place in it"),
        ((0, (0, -1)), "is no place in it"),
        ((0, (0, 0), "weight"), "needs a loss; give the labels as y="),
        ((0, (0, 0), "gamma", [0, 1]), "of is 'gamma'; expected one of"),
    ],
)
def test_trace_wrong_argument_is_named(arguments, message):
    model, x, _ = example()
    with pytest.raises(ValueError, match=message):
        model.trace(x, *arguments)


class Doubles(mc.Layer):
    def forward(self, x):
        return 2 * self.prepare(x)


class DoublesWithRule(Doubles):
    def trace_rule(self, of, index, x, dy):
        return Rule("y = 2 · x", [term(("2", 2.0), ("x", x, index))])


def test_trace_layer_without_a_rule_says_how_to_give_one():
    with pytest.raises(
        TypeError, match=r"Doubles\(\) does not say .* trace_rule\(of, index, x, dy"
    ):
        mc.Sequential(Doubles()).trace(np.ones((1, 3)), 0, (0, 1))


def test_trace_layer_with_its_own_rule_uses_it():
    trace = mc.Sequential(DoublesWithRule()).trace(np.full((1, 3), 1.5), 0, (0, 1))
    assert trace.total == trace.computed == 3
