"""Arguments and arrays that make no sense are errors of the right type, and cost nothing."""

import tracemalloc
import warnings

import numpy as np
import pytest

import minicnn as mc

HUGE = [2**31 - 1, 2**31, 2**31 + 1, 2**63 - 1, 2**63, 10**400]
NOT_WHOLE = [True, 1.0, 1.5, np.float32(2), "3", None, [], b"1", 1j, object(), np.array([1, 2])]
NOT_NUMBERS = [True, "0.5", None, [], b"1", 1j, object(), np.array([0.5, 0.5])]


@pytest.fixture(autouse=True)
def _no_large_allocation():
    """Whatever is refused must be refused before memory is taken for it."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000, f"{peak:,} bytes"


def shown(value):
    """The name of a case, the same in every process: no address of an object."""
    return repr(value).split(" at 0x")[0][:30]


def raises_for(make, name, value, *errors):
    """`make(value)` raises one of `errors`, with `name` in the message."""
    with pytest.raises(errors, match=name) as caught:
        make(value)
    assert type(caught.value) in errors


# --- whole numbers --------------------------------------------------------------------------------

SIZES = {
    "in_features": lambda v: mc.Linear(v, 2),
    "out_features": lambda v: mc.Linear(2, v),
    "in_channels": lambda v: mc.Conv2d(v, 2, 3),
    "out_channels": lambda v: mc.Conv2d(2, v, 3),
    "groups": lambda v: mc.Conv2d(4, 4, 3, groups=v),
    "num_features": lambda v: mc.BatchNorm2d(v),
}
PAIRS = {
    "conv kernel_size": lambda v: mc.Conv2d(2, 2, v),
    "conv stride": lambda v: mc.Conv2d(2, 2, 3, stride=v),
    "conv dilation": lambda v: mc.Conv2d(2, 2, 3, dilation=v),
    "max kernel_size": lambda v: mc.MaxPool2d(v),
    "max stride": lambda v: mc.MaxPool2d(2, stride=v),
    "avg kernel_size": lambda v: mc.AvgPool2d(v),
    "avg stride": lambda v: mc.AvgPool2d(2, stride=v),
}
PADDINGS = {
    "conv padding": lambda v: mc.Conv2d(2, 2, 3, padding=v),
    "max padding": lambda v: mc.MaxPool2d(2, padding=v),
    "avg padding": lambda v: mc.AvgPool2d(2, padding=v),
}
INFERRED = ("in_features", "in_channels", "num_features")  # None is fine there
ALL = SIZES | PAIRS | PADDINGS


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", NOT_WHOLE, ids=shown)
def test_a_size_that_is_no_whole_number_is_a_type_error(name, value):
    if value is None and (name in INFERRED or name.endswith(" stride") and "conv" not in name):
        ALL[name](value)
    elif name in PAIRS | PADDINGS and isinstance(value, list):
        raises_for(ALL[name], name.split()[-1], value, ValueError)
    elif name == "conv padding" and isinstance(value, str):
        raises_for(
            ALL[name], "padding is '3'; expected a number, a pair, 'same'", value, ValueError
        )
    else:
        raises_for(ALL[name], name.split()[-1], value, TypeError)


@pytest.mark.parametrize("name", SIZES | PAIRS)
@pytest.mark.parametrize("value", [0, -1, -(2**31) - 1, -(2**63)])
def test_a_size_below_one_is_a_value_error(name, value):
    raises_for(ALL[name], f"{name.split()[-1]} is {value}", value, ValueError)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", HUGE[1:], ids=shown)
def test_a_size_beyond_31_bits_is_a_value_error(name, value):
    raises_for(ALL[name], f"{name.split()[-1]} is {value}", value, ValueError)


@pytest.mark.parametrize("name", PAIRS | PADDINGS)
@pytest.mark.parametrize(
    ("value", "error"),
    [((), ValueError), ((1,), ValueError), ((1, 1, 1), ValueError), ((1, 1.0), TypeError),
     ((True, 1), TypeError), ((1, "1"), TypeError), ((1, -1), ValueError),
     ((1, 2**63), ValueError), (((1, 1), (1, 1)), TypeError), ({1: 1}, TypeError)],
)  # fmt: skip
def test_a_pair_that_is_none_is_an_error(name, value, error):
    raises_for(ALL[name], name.split()[-1], value, error)


@pytest.mark.parametrize("number", [np.int8(2), np.uint64(2), np.array(2, np.int32)])
def test_numpy_integers_are_taken_and_kept_as_ints(number):
    layer = mc.Conv2d(number, number, (number, number), stride=number, groups=number)
    assert repr(layer) == "Conv2d(in_channels=2, out_channels=2, kernel_size=2, stride=2, groups=2)"
    assert all(type(v) is int for v in (layer.in_channels, *layer.kernel_size, layer.groups))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mc.Linear(2**31 - 1, 2),
        lambda: mc.Linear(2**16, 2**16),  # wraps to 0 in 32 bits
        lambda: mc.Conv2d(2**31 - 1, 2**31 - 1, 1),
        lambda: mc.Conv2d(2**16, 2**16, (2**16, 2**16)),  # wraps to 0 in 64 bits
        lambda: mc.Conv2d(1, 1, 2**31 - 1),
    ],
)
def test_a_weight_too_large_to_count_is_a_value_error(make):
    with pytest.raises(ValueError, match="its weight would have [0-9]+ values; at most 2147483647"):
        make()


@pytest.mark.parametrize("padding", ["SAME", "full", "", "same "])
def test_an_unknown_padding_word_is_a_value_error(padding):
    raises_for(PADDINGS["conv padding"], "expected a number, a pair, 'same'", padding, ValueError)


def test_hyper_parameters_that_contradict_each_other_are_value_errors():
    for make, message in (
        (lambda: mc.Conv2d(3, 4, 3, groups=2), "in_channels is 3, which groups=2"),
        (lambda: mc.Conv2d(4, 3, 3, groups=2), "out_channels is 3, which groups=2"),
        (lambda: mc.Conv2d(1, 1, 3, stride=2, padding="same"), "padding='same' needs stride 1"),
        (lambda: mc.MaxPool2d(2, padding=2), "at most half"),
        (lambda: mc.AvgPool2d((4, 2), padding=(2, 2)), "at most half"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# --- real numbers, flags and words ----------------------------------------------------------------


def params():
    return mc.Linear(2, 2).parameters()


REALS = {  # what, its constructor, a value too large
    "p": (lambda v: mc.Dropout(v), 1.0001),
    "2d p": (lambda v: mc.Dropout2d(v), 2**63),
    "eps": (lambda v: mc.BatchNorm1d(2, eps=v), np.inf),
    "momentum": (lambda v: mc.BatchNorm2d(2, momentum=v), 1.5),
    "label_smoothing": (lambda v: mc.CrossEntropyLoss(label_smoothing=v), 1.01),
    "sgd lr": (lambda v: mc.SGD(params(), lr=v), np.inf),
    "sgd momentum": (lambda v: mc.SGD(params(), 0.1, momentum=v), 10**400),
    "sgd dampening": (lambda v: mc.SGD(params(), 0.1, dampening=v), np.inf),
    "sgd weight_decay": (lambda v: mc.SGD(params(), 0.1, weight_decay=v), np.inf),
    "adam lr": (lambda v: mc.Adam(params(), lr=v), np.inf),
    "adam eps": (lambda v: mc.Adam(params(), eps=v), np.inf),
    "adam weight_decay": (lambda v: mc.AdamW(params(), weight_decay=v), np.inf),
    "adam betas": (lambda v: mc.Adam(params(), betas=(0.9, v)), 1.0),
}


@pytest.mark.parametrize("name", REALS)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=shown)
def test_a_number_that_is_none_is_a_type_error(name, value):
    raises_for(REALS[name][0], name.split()[-1], value, TypeError)


@pytest.mark.parametrize("name", REALS)
def test_a_number_out_of_range_is_a_value_error(name):
    make, too_large = REALS[name]
    for value in (-1, -1e-9, -np.inf, np.nan, np.float32("nan"), too_large):
        raises_for(make, name.split()[-1], value, ValueError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 10**400])
def test_a_slope_that_float32_cannot_hold_is_a_value_error(value):
    raises_for(mc.LeakyReLU, "negative_slope", value, ValueError)


FLAGS = {
    "bias": lambda v: mc.Linear(2, 2, bias=v),
    "conv bias": lambda v: mc.Conv2d(2, 2, 3, bias=v),
    "ceil_mode": lambda v: mc.MaxPool2d(2, ceil_mode=v),
    "avg ceil_mode": lambda v: mc.AvgPool2d(2, ceil_mode=v),
    "count_include_pad": lambda v: mc.AvgPool2d(2, count_include_pad=v),
    "nesterov": lambda v: mc.SGD(params(), 0.1, momentum=0.9, nesterov=v),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [0, 1, 1.0, None, "True", np.True_, []], ids=shown)
def test_a_flag_that_is_no_bool_is_a_type_error(name, value):
    raises_for(FLAGS[name], name.split()[-1], value, TypeError)


@pytest.mark.parametrize("value", ["Default", "", None, 3, [], ("default",)])
def test_an_unknown_initializer_is_an_error_that_lists_the_known(value):
    error = ValueError if isinstance(value, str) else TypeError
    for make in (lambda v: mc.Linear(2, 2, init=v), lambda v: mc.Conv2d(2, 2, 3, init=v)):
        raises_for(make, "init is .*expected one of default, kaiming_uniform", value, error)


@pytest.mark.parametrize("value", ["Tanh", True, None, []])
def test_an_unknown_gelu_is_a_value_error(value):
    raises_for(mc.GELU, "approximate is .*expected 'none' or 'tanh'", value, ValueError)


@pytest.mark.parametrize(
    "make",
    [
        mc.ReLU, mc.LeakyReLU, mc.GELU, mc.SiLU, mc.Sigmoid, mc.Tanh, mc.Flatten, mc.Identity,
        mc.GlobalAvgPool2d, mc.Dropout, mc.Dropout2d, lambda **k: mc.Linear(1, 1, **k),
        lambda **k: mc.Conv2d(1, 1, 1, **k), lambda **k: mc.MaxPool2d(2, **k),
        lambda **k: mc.AvgPool2d(2, **k), lambda **k: mc.BatchNorm1d(2, **k),
        lambda **k: mc.BatchNorm2d(2, **k), lambda **k: mc.Sequential(**k), mc.CrossEntropyLoss,
        lambda **k: mc.SGD(params(), 0.1, **k), lambda **k: mc.Adam(params(), **k),
        lambda **k: mc.AdamW(params(), **k),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["inplace", "device", "padding_mode", "affine", "reduction"])
def test_an_unsupported_argument_is_a_type_error_that_names_it(make, name):
    with pytest.raises(TypeError, match=f"'{name}'"):
        make(**{name: None})


# --- arrays ---------------------------------------------------------------------------------------

LAYERS = {
    "Linear": (lambda: mc.Linear(6, 2), (3, 6)),
    "Conv2d": (lambda: mc.Conv2d(2, 2, 2), (3, 2, 3, 3)),
    "MaxPool2d": (lambda: mc.MaxPool2d(2), (3, 2, 4, 4)),
    "AvgPool2d": (lambda: mc.AvgPool2d(2), (3, 2, 4, 4)),
    "GlobalAvgPool2d": (mc.GlobalAvgPool2d, (3, 2, 4, 4)),
    "BatchNorm1d": (lambda: mc.BatchNorm1d(4), (3, 4)),
    "BatchNorm2d": (lambda: mc.BatchNorm2d(2), (3, 2, 4, 4)),
    "Dropout": (mc.Dropout, (3, 5)),
    "Dropout2d": (mc.Dropout2d, (3, 2, 4, 4)),
    "ReLU": (mc.ReLU, (3, 5)),
    "GELU": (mc.GELU, (3, 5)),
    "Flatten": (mc.Flatten, (3, 2, 4, 4)),
    "Identity": (mc.Identity, (3, 5)),
    "Sequential": (lambda: mc.Sequential(mc.Conv2d(2, 2, 2), mc.Linear(8, 3)), (3, 2, 3, 3)),
}
EITHER = pytest.mark.parametrize("name", LAYERS)


def array(shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@EITHER
@pytest.mark.parametrize(
    "x", [None, "abc", ["a"], [[1, 2]], np.zeros((3, 6), bool), np.zeros((3, 6), np.int64),
          np.zeros((3, 6), complex), np.zeros((3, 6), "datetime64[s]"), object()], ids=shown,
)  # fmt: skip
def test_an_array_of_another_type_is_a_type_error(name, x):
    raises_for(LAYERS[name][0](), "must be uint8 .* or float", x, TypeError)


@EITHER
@pytest.mark.parametrize("shape", [(), (3,), (0, 6), (3, 0), (0, 2, 4, 4), (3, 2, 0, 4)])
def test_an_array_without_a_batch_or_values_is_a_shape_error(name, shape):
    raises_for(LAYERS[name][0](), f"^{name}|its input", np.zeros(shape), mc.ShapeError)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"Dropout", "ReLU", "GELU", "Flatten",
                                                         "Identity"}))  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4), (3, 5, 3, 3), (1, 1, 1, 1, 1)])
def test_an_array_of_a_wrong_shape_is_a_shape_error(name, shape):
    if shape == (3, 5, 3, 3) and ("Pool" in name or name == "Dropout2d"):
        return  # any number of channels will do
    raises_for(LAYERS[name][0](), f"{name}|layer 0", array(shape), mc.ShapeError)


@EITHER
def test_any_memory_layout_gives_the_same_bits(name):
    make, shape = LAYERS[name]
    x = array(shape)
    expected = make().forward(x).tobytes()
    read_only = x.copy()
    read_only.flags.writeable = False
    spread = np.zeros((*shape[:-1], 2 * shape[-1]), np.float32)[..., ::2]
    spread[...] = x
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(shape)
    swapped = x.astype(x.dtype.newbyteorder())
    layouts = (read_only, np.asfortranarray(x), spread, unaligned, swapped, x.astype(np.float64),
               x[::-1].copy()[::-1], x.tolist())  # fmt: skip
    for other in layouts:
        assert make().forward(other).tobytes() == expected
    assert read_only.tobytes() == x.tobytes()


@EITHER
def test_backward_takes_any_layout_and_refuses_other_shapes(name):
    make, shape = LAYERS[name]
    layer = make()
    dy = array(layer.forward(array(shape)).shape)
    dx = layer.backward(dy).tobytes()
    dy.flags.writeable = False
    for other in (dy, np.asfortranarray(dy), dy.astype(">f4"), dy.astype(float)):
        assert layer.backward(other).tobytes() == dx
    for wrong in (dy[:1], dy[..., :1], dy[None], np.float32(1), dy.reshape(-1)):
        if np.shape(wrong) != dy.shape:
            raises_for(layer.backward, "the gradient handed to backward", wrong, mc.ShapeError)
    raises_for(layer.backward, "must be uint8 .* or float", None, TypeError)


@EITHER
def test_nan_and_infinity_pass_without_a_crash_or_a_warning(name):
    make, shape = LAYERS[name]
    x = array(shape)
    x.reshape(-1)[:3] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = make().eval()
        y = layer.forward(x)
        layer.backward(np.full_like(y, np.nan))
    assert not np.isfinite(y).all()


def test_a_large_input_shape_is_no_large_allocation():
    model = mc.Sequential(mc.Conv2d(1, 2, 3), mc.MaxPool2d(2), mc.GlobalAvgPool2d(), mc.Flatten())
    assert model.output_shape((1, 2**31 - 1, 2**31 - 1)) == (2,)
    model.build((1, 2**31 - 1, 2**31 - 1))
    assert "83,010,348,142,134,329,350" not in model.summary()  # 64 bits do not hold it


def test_padding_as_large_as_an_int_does_not_wrap():
    layer = mc.Conv2d(1, 1, 1, padding=2**31 - 1)
    assert layer.output_shape((1, 1, 1)) == (1, 2**32 - 1, 2**32 - 1)
    with pytest.raises((MemoryError, ValueError)):
        layer.forward(np.ones((1, 1, 1, 1), np.float32))


# --- models ---------------------------------------------------------------------------------------


def classifier():
    return mc.Sequential(mc.Flatten(), mc.Linear(None, 3)).build((1, 4, 4))


ANSWERS = {
    "logits": lambda m, x: m.logits(x),
    "predict": lambda m, x: m.predict(x),
    "predict_proba": lambda m, x: m.predict_proba(x),
    "evaluate": lambda m, x: m.evaluate(x, np.zeros(len(x), int) if np.ndim(x) else [0]),
}


@pytest.mark.parametrize("ask", ANSWERS)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((0, 1, 4, 4), np.float32), ValueError, "no samples"),
        (np.zeros((1, 4, 4), np.float32)[:0], ValueError, "no samples"),
        (np.float32(3), ValueError, "need a batch axis"),
        (np.zeros(4, np.float32), ValueError, "need a batch axis"),
        (np.zeros((2, 1, 4, 4), int), TypeError, "must be uint8"),
        (np.zeros((2, 1, 5, 4), np.float32), mc.ShapeError, "layer 1 Linear.*20 values"),
        (np.zeros((2, 0), np.float32), mc.ShapeError, "holds no values"),
    ],
    ids=shown,
)
def test_answers_for_wrong_arrays_are_errors(ask, x, error, message):
    with pytest.raises(error, match=message):
        ANSWERS[ask](classifier(), x)


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "evaluate"])
def test_answers_of_a_model_without_classes_are_errors(ask):
    model = mc.Sequential(mc.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"\(2, 2, 2, 2\)"):
        ANSWERS[ask](model, np.zeros((2, 1, 4, 4), np.float32))


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("8", TypeError),
                        (None, TypeError)],
)  # fmt: skip
def test_answers_with_a_wrong_batch_size_are_errors(size, error):
    with pytest.raises(error):
        classifier().predict(np.zeros((2, 1, 4, 4), np.float32), size)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "labels must be integers"),
        ([[0], [1]], ValueError, r"y.ravel\(\)"),
        ([0], ValueError, "got 1 for 2 samples"),
        ([0, 3], ValueError, "label"),
        ([0, -1], ValueError, "label"),
        (np.array([0, 2**63], np.uint64), ValueError, "fit int64"),
        (["a", "b"], TypeError, "labels must be integers"),
        (None, ValueError, "labels must be one class number a sample"),
    ],
)
def test_wrong_labels_are_errors_and_no_step_is_made(y, error, message):
    model = classifier()
    optimizer, before = mc.SGD(model.parameters(), 0.1), model.flat_parameters.tobytes()
    x = np.ones((2, 1, 4, 4), np.float32)
    for use in (lambda: model.train_step(x, y, mc.CrossEntropyLoss(), optimizer),
                lambda: model.evaluate(x, y)):  # fmt: skip
        with pytest.raises(error, match=message):
            use()
    assert model.flat_parameters.tobytes() == before


@pytest.mark.parametrize(
    "state",
    [
        {"1.weight": "text"},
        {"1.weight": None},
        {"1.weight": 3j},
        {"1.weight": np.zeros((3, 16), complex)},
        {7: np.zeros(3)},
    ],
)
def test_a_state_of_other_things_is_an_error_that_changes_nothing(state):
    model = classifier()
    before = model.flat_parameters.tobytes()
    for strict in (True, False):
        if strict or 7 not in state:
            with pytest.raises(mc.CheckpointError):
                model.load_state_dict(model.state_dict() | state, strict=strict)
    assert model.flat_parameters.tobytes() == before


def test_padding_that_no_memory_could_hold_is_refused_before_it_is_allocated():
    """A stride as huge leaves few outputs, so that the output's size tells nothing."""
    layer = mc.Conv2d(1, 1, 1, stride=2**31 - 1, padding=2**31 - 1)
    x = np.ones((1, 1, 8, 8), np.float32)
    for use in (layer.forward, mc.Sequential(layer).predict_proba):
        with pytest.raises(ValueError, match="with its zero borders would have"):
            use(x)
