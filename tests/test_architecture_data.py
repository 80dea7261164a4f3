"""Architectures as plain data: there and back, and what is refused."""

import copy
import json
import pickle

import pytest

import minicnn as mc
from minicnn.architecture import DEEPEST, LAYERS, Maker, describe

# One layer of each kind with every argument away from its default.
EXAMPLES = [
    mc.AvgPool2d((4, 3), stride=(1, 2), padding=(2, 1), ceil_mode=True, count_include_pad=False),
    mc.BatchNorm1d(7, eps=1e-3, momentum=0.2),
    mc.BatchNorm2d(7, eps=0.0, momentum=1.0),
    mc.Conv2d(4, 6, (3, 2), (1, 2), (2, 0), (1, 3), 2, False, init="kaiming_normal"),
    mc.Conv2d(None, 6, 3, padding="same"),
    mc.Dropout(0.1), mc.Dropout2d(0.0), mc.Flatten(), mc.GELU("tanh"), mc.GlobalAvgPool2d(),
    mc.Identity(), mc.LeakyReLU(-0.5), mc.Linear(3, 4, False, init="xavier_uniform"),
    mc.Linear(None, 4), mc.MaxPool2d(3, 1, 1, True), mc.ReLU(), mc.Sigmoid(), mc.SiLU(), mc.Tanh(),
]  # fmt: skip


def make(description):
    return Maker(mc.Sequential).layers(description)


def test_there_is_an_example_of_every_layer():
    assert {type(layer).__name__ for layer in EXAMPLES} == LAYERS.keys()


@pytest.mark.parametrize("layer", EXAMPLES, ids=repr)
def test_a_layer_comes_back_from_its_description_as_json(layer):
    (back,) = make(json.loads(json.dumps([describe(layer)])))
    assert type(back) is type(layer)
    assert back.hyper_parameters() == layer.hyper_parameters()
    assert repr(back) == repr(layer) == repr(eval(repr(layer), vars(mc)))


@pytest.mark.parametrize("layer", EXAMPLES, ids=repr)
def test_hyper_parameters_make_an_equal_layer(layer):
    again = type(layer)(**layer.hyper_parameters())
    assert again.hyper_parameters() == layer.hyper_parameters()


def test_nested_chains_come_back_nested():
    inner = mc.Sequential(mc.Tanh(), mc.Sequential(mc.Linear(2, 3)))
    (back,) = make(json.loads(json.dumps([describe(inner)])))
    assert repr(back) == repr(inner) and isinstance(back, mc.Sequential)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "architecture is None; expected a list of layers"),
        ({"type": "ReLU"}, "expected a list of layers"),
        (["ReLU"], r"architecture\[0\] is 'ReLU'; expected a dict"),
        ([{}], r"architecture\[0\] is {}; expected a dict with a layer's name"),
        ([{"type": 3}], r"architecture\[0\]"),
        ([{"type": "ReLU"}, {"type": "os.system"}], r"architecture\[1\] is a layer of type 'os"),
        ([{"type": "Layer"}], "not known here"),
        ([{"type": "ReLU", "inplace": True}], r"architecture\[0\] \(ReLU\): .*'inplace'"),
        ([{"type": "Linear", "in_features": 2}], "out_features"),
        ([{"type": "Linear", "in_features": 2, "out_features": "3"}], "out_features is '3'"),
        ([{"type": "Linear", "in_features": 2**31 - 1, "out_features": 2**31 - 1}], "at most"),
        ([{"type": "Sequential"}], r"architecture\[0\].layers is None"),
        ([{"type": "Sequential", "layers": [{"type": "x"}]}], r"architecture\[0\].layers\[0\]"),
        ([{"type": "MaxPool2d", "kernel_size": [2, 2, 2]}], "kernel_size"),
    ],
)  # fmt: skip
def test_another_description_is_a_value_error_that_says_where(description, message):
    with pytest.raises(ValueError, match=message):
        make(description)


def test_only_so_many_chains_may_lie_within_each_other():
    description = [{"type": "ReLU"}]
    for _ in range(DEEPEST):
        description = [{"type": "Sequential", "layers": description}]
    make(description)
    with pytest.raises(ValueError, match="expected a list of layers"):
        make([{"type": "Sequential", "layers": description}])


def test_a_long_foreign_value_is_shown_in_part():
    with pytest.raises(ValueError) as caught:
        make([{"type": "x" * 10_000}])
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
@pytest.mark.parametrize("layer", EXAMPLES, ids=repr)
def test_copies_and_pickles_of_a_layer_are_equal_layers(layer, duplicate):
    twin = duplicate(layer)
    assert type(twin) is type(layer) and repr(twin) == repr(layer)
    if layer.parameter_shapes() is not None:
        for name, p in layer.named_parameters().items():
            assert twin.named_parameters()[name].data.tobytes() == p.data.tobytes()
