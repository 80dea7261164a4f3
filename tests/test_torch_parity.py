"""Random nets over all layers give the results of PyTorch, and go on doing so while they train.

`python tests/test_torch_parity.py` prints how many nets were compared and the largest errors.
"""

from collections import Counter
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_nets  # noqa: E402
import torch_parity  # noqa: E402

import minicnn as mc  # noqa: E402
from minicnn.architecture import LAYERS  # noqa: E402

GROUPS, GROUP = 25, 10  # nets are compared in groups, one net for each optimizer in a group
NETS = GROUPS * GROUP

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@cache
def clear_comparison(i):
    """Net number i, or the first clear one of those that may take its place."""
    for seed in range(i, 20 * NETS, NETS):
        result = torch_parity.compare(torch_nets.make_net(seed, i % GROUP))
        if result.clear:
            return result
    raise AssertionError(f"no clear net in the place of net {i}")


def nets():
    """All nets as first drawn."""
    return [torch_nets.make_net(i, i % GROUP) for i in range(NETS)]


@pytest.mark.parametrize("group", range(GROUPS))
def test_ten_nets_train_as_in_pytorch(group):
    for i in range(group * GROUP, (group + 1) * GROUP):
        result = clear_comparison(i)
        assert not result.failures(), f"{result.net}\n{result.failures()}"


# --- what the nets cover ---------------------------------------------------------------------


def test_the_nets_hold_every_layer_often():
    counts = Counter(name for net in nets() for name in net.names())
    assert counts.keys() == LAYERS.keys()
    assert min(counts.values()) >= 10, counts
    assert counts["Conv2d"] >= 100 and min(counts["MaxPool2d"], counts["AvgPool2d"]) >= 30


def padded(a):
    return a["padding"] not in (0, (0, 0), "same", "valid")


HYPER_PARAMETERS = {
    "Conv2d": {
        "stride": lambda a: a["stride"] not in (1, (1, 1)),
        "unequal strides": lambda a: isinstance(a["stride"], tuple) and len({*a["stride"]}) == 2,
        "padding": padded,
        "padding same, even extent": lambda a: a["padding"] == "same" and a["kernel_size"] in (2, 4)
        and a["dilation"] == 1,
        "padding valid": lambda a: a["padding"] == "valid",
        "dilation": lambda a: a["dilation"] not in (1, (1, 1)),
        "groups": lambda a: 1 < a["groups"] < a["in_channels"],
        "depthwise": lambda a: 1 < a["groups"] == a["in_channels"],
        "no bias": lambda a: not a["bias"],
        "stride beyond kernel": lambda a: a["stride"] == 3 and a["kernel_size"] in (1, 2),
    },
    "MaxPool2d": {
        "ceil_mode": lambda a: a["ceil_mode"],
        "padding": padded,
        "overlap": lambda a: a["stride"] in (1, 2) and a["kernel_size"] in (3, 4),
        "own stride": lambda a: a["stride"] is None,
    },
    "AvgPool2d": {
        "ceil_mode with padding": lambda a: a["ceil_mode"] and padded(a),
        "padding left out": lambda a: not a["count_include_pad"] and padded(a),
        "overlap": lambda a: a["stride"] in (1, 2) and a["kernel_size"] in (3, 4),
    },
    "Linear": {"no bias": lambda a: not a["bias"]},
    "Dropout": {"p = 0": lambda a: a["p"] == 0, "p > 0": lambda a: a["p"] > 0},
    "Dropout2d": {"p > 0": lambda a: a["p"] > 0},
    "GELU": {kind: lambda a, kind=kind: a["approximate"] == kind for kind in ("none", "tanh")},
    "BatchNorm2d": {"momentum": lambda a: a["momentum"] != 0.1, "eps": lambda a: a["eps"] != 1e-5},
}  # fmt: skip


@pytest.mark.parametrize("name", HYPER_PARAMETERS)
def test_the_nets_vary_every_hyper_parameter(name):
    drawn = [a for net in nets() for kind, a in torch_nets.flat(net.layers) if kind == name]
    for what, holds in HYPER_PARAMETERS[name].items():
        assert sum(map(holds, drawn)) >= 2, what


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ("training", lambda n: n.training),
        ("evaluation with BatchNorm", lambda n: not n.training and "BatchNorm2d" in n.names()),
        ("one sample", lambda n: n.batch == 1),
        ("nested", lambda n: any(isinstance(entry, list) for entry in n.layers)),
        ("Linear on a map", lambda n: "Flatten" not in n.names() and len(n.input_shape) == 3),
        ("class weights", lambda n: n.loss["weight"] is not None),
        ("smoothing", lambda n: n.loss["label_smoothing"] > 0),
        ("ignored class", lambda n: n.loss["ignore_index"] >= 0),
        ("clipping", lambda n: n.clip_norm is not None),
        ("sizes inferred", lambda n: n.seed % 3 == 0),
    ],
)
def test_the_nets_are_used_in_every_way(what, holds):
    assert sum(map(holds, nets())) >= 20, what


# --- that the comparison can fail ----------------------------------------------------------------


def spoil(method, change, kind=mc.Layer):
    """A plant that lets `change(layer, result)` alter what the last such layer returns."""

    def plant(model):
        layer = [one for one in model.leaves().values() if isinstance(one, kind)][-1]
        original = getattr(layer, method)

        def spoilt(array):
            return change(layer, original(array))

        setattr(layer, method, spoilt)

    return plant


def add_a_little(_, array):
    array = array.copy()
    array.reshape(-1)[-1] += np.abs(array).max() * 1e-4
    return array


def lose_a_bias_gradient(layer, dx):
    layer.bias.grad[...] = 0
    return dx


def flip_a_weight_gradient(layer, dx):
    i = np.abs(layer.weight.grad).argmax()
    layer.weight.grad.reshape(-1)[i] *= -1
    return dx


def drift(layer, y):
    layer.running_var[...] *= 1.0001
    return y


CNN = [
    ("Conv2d", {"in_channels": 1, "out_channels": 4, "kernel_size": 3}),
    ("BatchNorm2d", {"num_features": 4}),
    ("Tanh", {}),
    ("AvgPool2d", {"kernel_size": 3, "padding": 1}),
    ("Dropout", {"p": 0.2}),
    ("Linear", {"in_features": 36, "out_features": 3}),
]


def cnn():
    loss = {"weight": None, "ignore_index": -100, "label_smoothing": 0.0}
    sgd = torch_nets.OPTIMIZERS[1]
    return torch_nets.Net(0, (1, 10, 10), CNN, 4, 3, True, loss, sgd, None)


def test_the_net_for_planted_errors_agrees_without_one():
    result = torch_parity.compare(cnn())
    assert result.clear and not result.failures()


PLANTED = {
    "one logit off by 1e-4": (spoil("forward", add_a_little), "logits"),
    "one input gradient off": (spoil("backward", add_a_little, mc.Conv2d), "input gradient"),
    "a bias gradient of zeros": (
        spoil("backward", lose_a_bias_gradient, mc.Linear), "gradient of 5.bias"
    ),
    "one flipped weight gradient": (
        spoil("backward", flip_a_weight_gradient, mc.Conv2d), "gradient of 0.weight"
    ),
    "a statistic that drifts": (
        spoil("forward", drift, mc.BatchNorm2d), "1.running_var after 10 steps"
    ),
    "another divisor": (
        lambda model: setattr(model[3], "count_include_pad", False), "logits"
    ),
    "a mask forgotten on the way back": (
        lambda model: setattr(model[4], "backward", lambda dy: dy), "gradient of 0.weight"
    ),
    "another momentum": (
        lambda model: setattr(model[1], "momentum", 0.101), "1.running_mean after 10 steps"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_error_is_noticed(what):
    plant, where = PLANTED[what]
    assert where in torch_parity.compare(cnn(), plant).failures()


@pytest.mark.parametrize("change", [{"lr": 0.02001}, {"momentum": 0.9001}, {"nesterov": True}])
def test_another_optimizer_is_noticed(change, monkeypatch):
    original = mc.SGD
    monkeypatch.setattr(mc, "SGD", lambda p, **given: original(p, **(given | change)))
    failures = torch_parity.compare(cnn()).failures()
    assert "5.weight after 10 steps" in failures and "logits" not in failures


@pytest.mark.parametrize(("distance", "clear"), [(1e-3, True), (1e-7, False)])
def test_a_relu_near_its_kink_makes_a_net_unclear(distance, clear):
    truth = torch_parity.Truth(cnn(), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(3, 1)))
    truth.module(torch.tensor([[1.0, 0.0, -distance]], dtype=torch.float64))
    assert truth.clear is clear


@pytest.mark.parametrize(("distance", "clear"), [(1e-3, True), (1e-7, False), (0.0, True)])
def test_a_pool_near_a_tie_makes_a_net_unclear(distance, clear):
    pool = torch.nn.MaxPool2d(2, ceil_mode=True)
    truth = torch_parity.Truth(cnn(), torch.nn.Sequential(pool, torch.nn.BatchNorm2d(1)))
    x = torch.tensor([[[[0.0, 0.5, 0.1], [0.2, 0.3, 1.0], [2.0, 2.0 - distance, 0.4]]]])
    truth.module(x.to(torch.float64))
    assert truth.clear is clear


# --- numbers to quote --------------------------------------------------------------------------


def report():
    """A table: what was compared, how many arrays, the largest errors of both libraries."""
    worst = {}
    results = [clear_comparison(i) for i in range(NETS)]
    for result in results:
        for name, (ours, theirs) in result.errors.items():
            kind = next((k for k in ("gradient of", "running_", "steps") if k in name), name)
            count, a, b = worst.get(kind, (0, 0.0, 0.0))
            worst[kind] = count + 1, max(a, ours), max(b, theirs)
    names = {"gradient of": "parameter gradients", "running_": "running statistics after 10 steps",
             "steps": "weights after 10 steps"}  # fmt: skip
    redrawn = sum(result.net.seed >= NETS for result in results)
    lines = [f"{NETS} nets, {redrawn} of them drawn again to be clear; relative to float64:",
             f"{'':36}{'arrays':>8}{'minicnn':>10}{'PyTorch':>10}"]  # fmt: skip
    lines += [
        f"{names.get(kind, kind):36}{count:8}{a:10.1e}{b:10.1e}"
        for kind, (count, a, b) in worst.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)  # nets so small lose more to waiting threads than they gain
    mc.set_num_threads(1)
    print(report())
