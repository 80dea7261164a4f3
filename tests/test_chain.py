"""A chain of layers: shapes, starting weights, the two flat blocks, state, copies."""

import copy
import pickle

import numpy as np
import pytest

import minicnn as mc


def cnn(seed=0):
    return mc.Sequential(
        mc.Conv2d(None, 4, 3), mc.BatchNorm2d(None), mc.ReLU(), mc.Dropout(0.5),
        mc.Sequential(mc.MaxPool2d(2), mc.Linear(None, 5), mc.Tanh()), mc.Linear(None, 3),
        seed=seed,
    )  # fmt: skip


def images(n=4, shape=(2, 8, 8)):
    return np.random.default_rng(1).normal(size=(n, *shape)).astype(np.float32)


def state_bytes(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def check_views(model):
    """Every parameter is where the flat blocks say, in the order of the state dict."""
    for block, attribute in ((model.flat_parameters, "data"), (model.flat_gradients, "grad")):
        start = 0
        for p in model.parameters():
            array = getattr(p, attribute)
            assert np.shares_memory(array, block)
            assert array.ctypes.data == block.ctypes.data + 4 * start
            start += array.size
        assert start == block.size


# --- starting weights --------------------------------------------------------------------------


def test_looking_at_a_weight_before_the_first_use_changes_nothing():
    looked, not_looked = (mc.Sequential(*(mc.Linear(4, 4) for _ in "ab"), seed=7) for _ in "ab")
    first, second = (layer.weight.data.copy() for layer in looked)
    assert first.tobytes() != second.tobytes()
    assert state_bytes(looked) == state_bytes(not_looked)


def test_equal_inner_chains_start_differently():
    block = [mc.Sequential(mc.Linear(4, 4), mc.Linear(4, 4)) for _ in "ab"]
    model = mc.Sequential(*block, seed=1)
    weights = {p.data.tobytes() for name, p in model.named_parameters().items() if "weight" in name}
    assert len(weights) == 4


def test_weights_depend_on_the_seed_only():
    one, same, other = cnn(3), cnn(3), cnn(4)
    for model in (one, same, other):
        model.build((2, 8, 8))
    assert state_bytes(one) == state_bytes(same)
    assert one.flat_parameters.tobytes() != other.flat_parameters.tobytes()


def test_an_inner_chain_that_has_weights_keeps_them():
    inner = mc.Sequential(mc.Linear(4, 4), seed=9)
    pretrained = inner.state_dict()["0.weight"]
    outer = mc.Sequential(mc.Linear(4, 4), inner, seed=1)
    assert np.array_equal(outer.state_dict()["1.0.weight"], pretrained)
    check_views(outer)
    inner[0].weight.data[...] = 5
    assert np.all(outer.state_dict()["1.0.weight"] == 5)


def test_reset_parameters_starts_over():
    model = cnn(3).build((2, 8, 8))
    before = state_bytes(model)
    model(images())
    model.flat_parameters[...] = 0
    assert state_bytes(model) != before
    model.reset_parameters(3)
    assert state_bytes(model) == before and model.generator_steps() == {"3": 0}


# --- shapes --------------------------------------------------------------------------------------


def test_names_of_nested_layers_are_dotted_positions():
    assert list(cnn().build((2, 8, 8)).state_dict()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
        "1.num_batches_tracked", "4.1.weight", "4.1.bias", "5.weight", "5.bias",
    ]  # fmt: skip


def test_sizes_left_open_are_inferred_from_the_first_input():
    model = cnn()
    assert model(images()).shape == (4, 3)
    sizes = model[0].in_channels, model[1].num_features, model[4][1].in_features
    assert sizes == (2, 4, 36) and model.input_shape == (2, 8, 8)


def test_a_failed_build_leaves_the_model_as_it_was():
    model = mc.Sequential(mc.Conv2d(None, 4, 3), mc.MaxPool2d(4), mc.Linear(None, 3))
    with pytest.raises(mc.ShapeError, match="layer 1 MaxPool2d"):
        model.build((3, 4, 4))
    assert model[0].in_channels is None and model.input_shape is None
    assert model.build((1, 8, 8))[0].in_channels == 1


def test_a_build_too_large_to_hold_leaves_the_model_as_it_was():
    model = mc.Sequential(mc.Linear(None, 100))
    with pytest.raises(ValueError, match="its weight would have"):
        model.build((1, 2**20, 2**20))
    assert model[0].in_features is None
    assert model(np.ones((1, 7), np.float32)).shape == (1, 100)


def test_channels_that_the_groups_do_not_divide_are_refused_and_not_kept():
    layer = mc.Conv2d(None, 4, 1, groups=2)
    with pytest.raises(mc.ShapeError, match="3 channels, which groups=2 does not divide"):
        layer(images(1, (3, 4, 4)))
    assert layer.in_channels is None
    assert layer(images(1, (4, 4, 4))).shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((), mc.ShapeError), ((0, 8, 8), mc.ShapeError), ((-1, 8, 8), mc.ShapeError),
        ((2**31, 8, 8), mc.ShapeError), ((2**63 - 1,), mc.ShapeError),
        ((1.5, 8, 8), TypeError), ((True, 8, 8), TypeError), (("2", 8, 8), TypeError),
        ("288", TypeError), (7, TypeError), (None, TypeError),
    ],
)  # fmt: skip
def test_build_with_a_wrong_shape_is_an_error(shape, error):
    with pytest.raises(error, match="input_shape"):
        cnn().build(shape)


def test_a_wrong_shape_names_the_layer_and_the_fix():
    model = mc.Sequential(mc.Conv2d(3, 4, 3), mc.Flatten(), mc.Linear(7, 2))
    with pytest.raises(mc.ShapeError, match=r"layer 0 Conv2d.*use Conv2d\(1, 4, …\)"):
        model(images(1, (1, 5, 5)))
    with pytest.raises(mc.ShapeError, match=r"layer 2 Linear\(7, 2\)|layer 2 Linear.*36 values"):
        model.build((3, 5, 5))


def test_parameters_of_an_open_chain_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"layer 0 Conv2d.*call model.build\(input_shape\)"):
        cnn().parameters()


def test_the_same_layer_in_two_places_is_an_error():
    layer = mc.Linear(3, 3)
    for layers in ((layer, mc.ReLU(), layer), (mc.Sequential(layer), layer)):
        with pytest.raises(ValueError, match="stands in two places"):
            mc.Sequential(*layers)


@pytest.mark.parametrize("thing", [mc.ReLU, None, [mc.ReLU()], np.tanh, "ReLU"])
def test_a_chain_of_other_things_is_an_error(thing):
    with pytest.raises(TypeError, match="layer 1 is .*expected a Layer"):
        mc.Sequential(mc.ReLU(), thing)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.0, TypeError),
                        (True, TypeError), (None, TypeError), ("0", TypeError)],
)  # fmt: skip
def test_a_wrong_seed_is_an_error(seed, error):
    with pytest.raises(error, match="seed is"):
        mc.Sequential(mc.ReLU(), seed=seed)


def test_the_largest_seed_is_fine():
    model = mc.Sequential(mc.Linear(3, 2), mc.Dropout(0.5), seed=np.uint64(2**64 - 1))
    assert np.isfinite(model(np.ones((2, 3), np.float32))).all()


# --- forward and backward ---------------------------------------------------------------------


def test_parameters_and_gradients_lie_in_two_flat_blocks():
    model = cnn().build((2, 8, 8))
    check_views(model)
    check_views(model[4])
    y = model(images())
    model.backward(np.ones_like(y))
    model.flat_gradients[...] = 3
    assert all(np.all(p.grad == 3) for p in model.parameters())


def test_backward_overwrites_the_gradients():
    model, x = mc.Sequential(mc.Linear(6, 3), mc.BatchNorm1d(3)), images(4, (6,))
    found = []
    for _ in range(2):
        y = model(x)
        model.backward(y)
        found.append(model.flat_gradients.tobytes())
    assert found[0] == found[1]


def test_backward_before_forward_is_an_error():
    model = cnn().build((2, 8, 8))
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        model.backward(np.ones((4, 3), np.float32))
    model.predict(images())
    with pytest.raises(RuntimeError, match="outside predict and evaluate"):
        model.backward(np.ones((4, 3), np.float32))


def test_modes_reach_every_layer():
    model = cnn()
    assert model.eval() is model and not model.training
    assert not any(layer.training for layer in model.leaves().values()) and not model[4].training
    model.train()
    with mc.inference():
        assert not any(layer.training for layer in [model, *model.leaves().values()])
    assert all(layer.training for layer in [model, model[4], *model.leaves().values()])


# --- state ---------------------------------------------------------------------------------------


def test_state_dict_is_a_copy_and_travels():
    one, other = cnn(1).build((2, 8, 8)), cnn(2).build((2, 8, 8))
    one(images())
    state = one.state_dict()
    other.load_state_dict(state)
    assert state_bytes(one) == state_bytes(other)
    state["0.weight"][...] = 9
    assert state_bytes(one) == state_bytes(other)
    check_views(other)


def test_a_strict_load_lists_everything_at_once_and_changes_nothing():
    model = cnn().build((2, 8, 8))
    before = state_bytes(model)
    state = {name: array + 1 for name, array in model.state_dict().items()}
    del state["0.bias"], state["1.running_var"]
    state |= {"9.weight": np.zeros(2), "5.weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(mc.CheckpointError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for part in ("missing 0.bias", "missing 1.running_var", "unexpected 9.weight",
                 "mismatch 5.weight"):  # fmt: skip
        assert part in message
    assert isinstance(caught.value, ValueError) and state_bytes(model) == before


def test_a_loose_load_takes_what_is_there_and_still_refuses_shapes():
    model = cnn().build((2, 8, 8))
    before = state_bytes(model)
    model.load_state_dict({"0.bias": np.full(4, 2.0), "extra": np.zeros(1)}, strict=False)
    after = state_bytes(model)
    assert np.all(model.state_dict()["0.bias"] == 2)
    assert {name for name in after if after[name] != before[name]} == {"0.bias"}
    with pytest.raises(mc.CheckpointError, match="mismatch 0.bias"):
        model.load_state_dict({"0.bias": np.zeros(5), "1.bias": np.ones(4)}, strict=False)
    assert state_bytes(model) == after


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_is_independent_and_has_blocks_of_its_own(duplicate):
    model = cnn().build((2, 8, 8))
    model(images())
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    before = state_bytes(model)
    twin = duplicate(model)
    assert state_bytes(twin) == before
    check_views(twin)
    check_views(model)
    twin.flat_parameters[...] = 0
    assert state_bytes(model) == before
    twin.build((2, 8, 8))
    model.backward(np.ones_like(model(images())))
    optimizer.step()  # refuses when the parameters have been moved


def test_a_copy_of_a_model_not_built_yet_can_be_built():
    twin = copy.deepcopy(cnn(5))
    assert state_bytes(twin.build((2, 8, 8))) == state_bytes(cnn(5).build((2, 8, 8)))


def test_a_copy_forgets_what_was_remembered_for_backward():
    model = cnn()
    y = model(images())
    with pytest.raises(RuntimeError, match="before forward"):
        copy.deepcopy(model).backward(y)
    assert model.backward(y).shape == (4, 2, 8, 8)


def test_an_empty_chain_is_the_identity():
    model, x = mc.Sequential(), images()
    assert np.array_equal(model(x), x) and model.parameters() == []
    assert np.array_equal(model.backward(x), x)


def test_another_image_size_in_between_does_not_change_the_models_own():
    model = mc.Sequential(mc.Conv2d(None, 4, 3), mc.GlobalAvgPool2d(), mc.Linear(None, 2))
    model(images(2, (3, 8, 8)))
    model.predict(images(2, (3, 11, 9)))
    assert model.input_shape == (3, 8, 8)
    assert model.build((3, 11, 9)).input_shape == (3, 11, 9)
    with pytest.raises(mc.ShapeError, match="layer 0 Conv2d"):
        model(images(2, (4, 8, 8)))


# --- layers of the user's own that break the contract ------------------------------------------


class NoSuper(mc.Layer):
    def __init__(self):
        pass


class Learns(mc.Layer):
    """Its parameter starts as `start`, whatever the shape it announced."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def parameter_shapes(self):
        return {"scale": (2,)}

    def initial_parameter(self, name, shape, seed, stream):
        return self.start

    def forward(self, x):
        return self.prepare(x)


def test_a_layer_that_forgets_super_is_named():
    with pytest.raises(TypeError, match=r"layer 1: NoSuper.__init__ does not call super"):
        mc.Sequential(mc.ReLU(), NoSuper())


def test_a_parameter_of_another_shape_than_announced_is_an_error():
    with pytest.raises(ValueError, match=r"gave scale the shape \(3,\); expected \(2,\)"):
        mc.Sequential(Learns(np.zeros(3))).build((2,))


def test_a_starting_value_is_copied_and_converted():
    start = np.array([1.0, 2.0])
    for layer in (Learns(start), mc.Sequential(Learns(start))):
        (p,) = layer.parameters()
        assert p.data.dtype == np.float32 and p.data.tolist() == [1, 2]
        p.data[...] = 0
    assert start.tolist() == [1, 2]


@pytest.mark.parametrize("state", [None, [("0.weight", 1)], "model.safetensors"])
def test_a_state_that_is_no_mapping_is_a_type_error(state):
    with pytest.raises(TypeError, match="state is a .*; expected names and arrays"):
        mc.Sequential(mc.Linear(1, 1)).load_state_dict(state)
