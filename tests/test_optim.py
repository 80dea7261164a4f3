"""Optimizers: steps worked out by hand, PyTorch's trajectories, segments, state, errors.

Tolerance: parameters are of size 1 and ten steps round each a few times (6e-8), so they agree
with another order of the same operations to 1e-6 of the largest.
"""

import itertools
import json
import math

import numpy as np
import pytest

from minicnn.layers.base import Parameter
from minicnn.optim import SGD, Adam, AdamW, Optimizer, clip_grad_norm
from minicnn.optim.segments import find_segments
from minicnn.threads import set_num_threads

SHAPES = [(4, 3, 3, 3), (4,), (10, 7), (10,)]
SIZE = sum(map(math.prod, SHAPES))


def parameters(values, gap=0):
    """Parameters with these values, side by side in flat blocks, `gap` numbers between them."""
    length = sum(v.size + gap for v in values)
    data, grad = np.zeros(length, np.float32), np.zeros(length, np.float32)
    made, start = [], 0
    for i, value in enumerate(values):
        view = slice(start, start + value.size)
        p = Parameter(value.astype(np.float32), f"p{i}")
        p.move_to(data[view].reshape(value.shape), grad[view].reshape(value.shape))
        made.append(p)
        start += value.size + gap
    return made


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def train(optimizer, steps, start=0):
    """`steps` steps along fixed pseudo-random gradients, those from number `start` on."""
    for i in range(start, start + steps):
        for p, gradient in zip(optimizer.parameters, arrays(100 + i), strict=True):
            p.grad[...] = gradient
        optimizer.step()
    return np.concatenate([p.data.ravel() for p in optimizer.parameters])


def one(value, gradient):
    p = Parameter(np.array([value], np.float32), "p")
    p.grad[:] = gradient
    return p


# --- by hand ----------------------------------------------------------------------------------


def test_sgd_step_is_lr_times_gradient():
    p = one(1.0, 0.5)
    SGD([p], lr=0.1).step()
    assert p.data[0] == pytest.approx(0.95, rel=1e-6)
    assert p.grad[0] == 0.5


def test_sgd_weight_decay_adds_to_the_gradient():
    p = one(2.0, 0.5)
    SGD([p], lr=0.1, weight_decay=0.25).step()
    assert p.data[0] == pytest.approx(2 - 0.1 * (0.5 + 0.5), rel=1e-6)


def test_sgd_momentum_starts_from_the_bare_gradient():
    p = one(0.0, 1.0)
    optimizer = SGD([p], lr=1.0, momentum=0.5, dampening=0.75)
    optimizer.step()  # buf = 1, not damped
    assert p.data[0] == -1
    p.grad[:] = 2
    optimizer.step()  # buf = 0.5 + 0.25 * 2 = 1
    assert p.data[0] == -2
    assert optimizer.slots["momentum_buffer"][0] == 1


def test_sgd_nesterov_looks_ahead():
    p = one(0.0, 1.0)
    optimizer = SGD([p], lr=1.0, momentum=0.5, nesterov=True)
    optimizer.step()  # buf = 1, step 1 + 0.5
    assert p.data[0] == -1.5
    optimizer.step()  # buf = 1.5, step 1 + 0.75
    assert p.data[0] == -3.25


def test_sgd_learning_rate_stands_outside_the_buffer():
    p = one(0.0, 1.0)
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()
    optimizer.lr = 0.0
    optimizer.step()
    assert p.data[0] == -1


@pytest.mark.parametrize("gradient", [1e-3, -4.0, 1e4])
def test_adam_first_step_is_lr_whatever_the_gradient(gradient):
    # m and v are corrected to g and g², so the step is lr · g / (|g| + eps).
    p = one(1.0, gradient)
    Adam([p], lr=0.01, eps=0).step()
    assert p.data[0] == pytest.approx(1 - math.copysign(0.01, gradient), rel=1e-6)


def test_adam_and_adamw_decay_differently():
    # Adam's first step ignores the size of g + wd p; AdamW shrinks p by lr wd p besides.
    coupled, decoupled = one(2.0, 1.0), one(2.0, 1.0)
    Adam([coupled], lr=0.1, weight_decay=0.5, eps=0).step()
    AdamW([decoupled], lr=0.1, weight_decay=0.5, eps=0).step()
    assert coupled.data[0] == pytest.approx(1.9, rel=1e-6)
    assert decoupled.data[0] == pytest.approx(2 * 0.95 - 0.1, rel=1e-6)


def test_defaults_are_those_of_pytorch():
    ps = parameters(arrays(0))
    adam = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    assert Adam(ps).hyper_parameters() == adam
    assert AdamW(ps).hyper_parameters() == {**adam, "weight_decay": 1e-2}
    assert SGD(ps, 0.1).hyper_parameters() == {
        "lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False
    }  # fmt: skip


# --- PyTorch ----------------------------------------------------------------------------------

SGD_CASES = [
    {"lr": 0.1, "momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product([0, 0.9], [0, 0.3], [0, 0.05], [False, True])
    if not n or (m and not d)
]
ADAM_CASES = [
    {"lr": lr, "betas": b, "eps": e, "weight_decay": w}
    for lr, b, e, w in itertools.product(
        [1e-3, 0.1], [(0.9, 0.999), (0.5, 0.8), (0.0, 0.9)], [1e-8, 1e-3], [0, 0.05]
    )
]
CASES = [(SGD, a) for a in SGD_CASES] + [(k, a) for k in (Adam, AdamW) for a in ADAM_CASES]


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_ten_steps_equal_pytorch(kind, arguments):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(v, requires_grad=True) for v in arrays(0)]
    theirs = getattr(torch.optim, kind.__name__)(tensors, **arguments)
    ours = kind(parameters(arrays(0)), **arguments)
    for i in range(10):
        for t, gradient in zip(tensors, arrays(100 + i), strict=True):
            t.grad = torch.tensor(gradient)
        theirs.step()
        expected = torch.cat([t.detach().flatten() for t in tensors]).numpy()
        error = np.abs(train(ours, 1, start=i) - expected).max()
        assert error <= 1e-6 * np.abs(expected).max(), f"step {i}"


def test_momentum_switched_on_later_equals_pytorch():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(1, requires_grad=True)
    theirs = torch.optim.SGD([tensor], lr=1.0, dampening=0.5)
    p = one(0.0, 1.0)
    ours = SGD([p], lr=1.0, dampening=0.5)
    for i in range(6):
        momentum = 0.5 if i >= 3 else 0.0
        theirs.param_groups[0]["momentum"] = ours.momentum = momentum
        tensor.grad = torch.full((1,), float(i))
        p.grad[:] = i
        theirs.step()
        ours.step()
        assert p.data[0] == tensor.item()


# --- segments -----------------------------------------------------------------------------


def test_neighbours_make_one_segment_that_is_a_view():
    ps = parameters(arrays(0))
    (segment,) = find_segments(ps)
    assert segment.data.shape == segment.grad.shape == (SIZE,)
    np.testing.assert_array_equal(segment.data, np.concatenate([p.data.ravel() for p in ps]))
    segment.data[:] = 5
    segment.grad[:] = 6
    assert all((p.data == 5).all() and (p.grad == 6).all() for p in ps)


def test_a_gap_in_either_block_separates_segments():
    apart = parameters(arrays(0), gap=1)
    assert len(find_segments(apart)) == len(SHAPES)
    mixed = parameters(arrays(0))
    mixed[2].grad = np.zeros_like(mixed[2].grad)
    sizes = [segment.data.size for segment in find_segments(mixed)]
    assert sizes == [108 + 4, 70, 10]


def test_another_order_or_another_block_separates_segments():
    ps = parameters(arrays(0))
    assert len(find_segments(ps[::-1])) == len(SHAPES)
    assert len(find_segments([ps[0], *parameters(arrays(0))[1:]])) == 2
    assert len(find_segments([Parameter(v, "p") for v in arrays(0)])) == len(SHAPES)


def test_blocks_inside_an_array_of_bytes_are_joined():
    data, grad = (np.zeros(64 + 16 + 24, np.uint8)[64:].view(np.float32) for _ in range(2))
    ps = [Parameter(np.ones(4, np.float32), "a"), Parameter(np.ones((2, 3), np.float32), "b")]
    ps[0].move_to(data[:4], grad[:4])
    ps[1].move_to(data[4:].reshape(2, 3), grad[4:].reshape(2, 3))
    (segment,) = find_segments(ps)
    segment.data[:] = np.arange(10)
    assert ps[1].data.tolist() == [[4, 5, 6], [7, 8, 9]]


def test_blocks_that_only_touch_in_memory_are_not_joined():
    memory = [bytearray(40), bytearray(40)]
    first = [np.frombuffer(m, np.float32, count=4) for m in memory]
    second = [np.frombuffer(m, np.float32, count=6, offset=16) for m in memory]
    ps = [Parameter(np.ones(4, np.float32), "a"), Parameter(np.ones(6, np.float32), "b")]
    ps[0].move_to(first[0][:], first[1][:])
    ps[1].move_to(second[0][:], second[1][:])
    assert [segment.data.size for segment in find_segments(ps)] == [4, 6]


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_scattered_parameters_move_as_joined_ones(kind):
    arguments = {"lr": 0.1, "weight_decay": 0.01, **({"momentum": 0.9} if kind is SGD else {})}
    joined = kind(parameters(arrays(0)), **arguments)
    scattered = kind(parameters(arrays(0), gap=3), **arguments)
    assert (len(joined.segments), len(scattered.segments)) == (1, len(SHAPES))
    # Lanes and tails of a vector loop may not round differently: the bits are the same.
    np.testing.assert_array_equal(train(joined, 5), train(scattered, 5))


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_steps_with_any_number_of_threads_have_the_same_bits(kind, keep_threads):
    arguments = {"lr": 0.1, **({"momentum": 0.9} if kind is SGD else {})}
    results = []
    for threads in (1, 2, 3, 8):
        rng = np.random.default_rng(1)
        p = Parameter(rng.normal(size=100_003).astype(np.float32), "p")
        p.grad[:] = rng.normal(size=p.size)
        optimizer = kind([p], **arguments)
        set_num_threads(threads)
        optimizer.step()
        optimizer.step()
        results.append(p.data.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("name", ["data", "grad"])
def test_step_after_a_parameter_was_moved_is_a_runtime_error(name):
    ps = parameters(arrays(0))
    optimizer = SGD(ps, lr=0.1)
    setattr(ps[1], name, getattr(ps[1], name).copy())
    with pytest.raises(RuntimeError, match=r"Parameter\('p1', shape=\(4,\)\) got a new array"):
        optimizer.step()
    assert optimizer.steps == 0


def test_step_keeps_its_slots_in_the_same_arrays():
    optimizer = Adam(parameters(arrays(0)))
    optimizer.step()
    before = dict(optimizer.slots)
    optimizer.step()
    assert all(optimizer.slots[name] is slot for name, slot in before.items())


# --- state --------------------------------------------------------------------------------

MAKERS = {
    "sgd": lambda ps: SGD(ps, 0.1),
    "momentum": lambda ps: SGD(ps, 0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "adam": lambda ps: Adam(ps, 0.01, betas=(0.8, 0.99)),
    "adamw": lambda ps: AdamW(ps, 0.01),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("steps", [0, 3])
def test_resumed_steps_have_the_bits_of_uninterrupted_ones(make, steps):
    whole = make(parameters(arrays(0)))
    expected = train(whole, steps + 4)
    first = make(parameters(arrays(0)))
    train(first, steps)
    state = first.state_dict()
    slots = state.pop("slots")
    state = {**json.loads(json.dumps(state)), "slots": slots}
    second = make(parameters([p.data for p in first.parameters]))
    second.lr = 77.0
    second.load_state_dict(state)
    assert second.hyper_parameters() == first.hyper_parameters()
    np.testing.assert_array_equal(train(second, 4, start=steps), expected)


def test_state_holds_its_documented_entries():
    optimizer = SGD(parameters(arrays(0)), 0.1, momentum=0.9)
    assert optimizer.state_dict()["slots"] == {}
    train(optimizer, 2)
    state = optimizer.state_dict()
    assert (state["type"], state["step"], state["slots_in_use"]) == ("SGD", 2, True)
    assert state["slots"]["momentum_buffer"].shape == (SIZE,)
    state["slots"]["momentum_buffer"][:] = 0  # a copy
    assert optimizer.slots["momentum_buffer"].any()


def test_loaded_state_is_not_written_to():
    optimizer = Adam(parameters(arrays(0)))
    train(optimizer, 1)
    state = optimizer.state_dict()
    before = state["slots"]["exp_avg"].copy()
    optimizer.load_state_dict(state)
    train(optimizer, 1)
    np.testing.assert_array_equal(state["slots"]["exp_avg"], before)


def changed(state, **entries):
    return {**state, **entries}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: changed(s, type="SGD"), "the state is of 'SGD'; expected 'Adam'"),
        (lambda s: {}, "the state is of None"),
        (lambda s: changed(s, extra=1), r"missing \[\], unexpected \['extra'\]"),
        (lambda s: {k: v for k, v in s.items() if k not in ("lr", "eps")}, r"\['eps', 'lr'\]"),
        (lambda s: changed(s, slots={}), r"slots: missing \['exp_avg', 'exp_avg_sq'\]"),
        (lambda s: changed(s, slots_in_use=False), r"unexpected \['exp_avg', 'exp_avg_sq'\]"),
        (lambda s: changed(s, step=-1), "step is -1"),
        (lambda s: changed(s, lr=math.nan), "lr is nan"),
        (
            lambda s: changed(s, slots=changed(s["slots"], exp_avg=np.zeros(3, np.float32))),
            rf"slot 'exp_avg' is float32 of shape \(3,\); expected float32 of shape \({SIZE},\)",
        ),
        (
            lambda s: changed(s, slots=changed(s["slots"], exp_avg=np.zeros(SIZE))),
            "slot 'exp_avg' is float64",
        ),
    ],
)
def test_load_of_a_wrong_state_changes_nothing(change, message):
    optimizer = Adam(parameters(arrays(0)))
    train(optimizer, 2)
    before = optimizer.state_dict()
    optimizer_slots = dict(optimizer.slots)
    other = Adam(parameters(arrays(0)), lr=0.5, betas=(0.1, 0.2))
    train(other, 5)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(change(other.state_dict()))
    assert optimizer.hyper_parameters() == {k: before[k] for k in optimizer.hyper_parameters()}
    assert optimizer.steps == 2
    for name, slot in optimizer_slots.items():
        assert optimizer.slots[name] is slot


# --- clipping -----------------------------------------------------------------------------


def test_clip_scales_all_gradients_by_one_factor():
    ps = [one(0.0, 3.0), one(0.0, 4.0)]
    assert clip_grad_norm(ps, 1.0) == pytest.approx(5, rel=1e-7)
    assert [p.grad[0] for p in ps] == pytest.approx([0.6, 0.8], rel=1e-6)


def test_clip_adds_a_millionth_to_the_norm():
    p = one(0.0, 1e-6)
    clip_grad_norm([p], 1e-6)
    assert p.grad[0] == pytest.approx(0.5e-6, rel=1e-6)


def test_clip_spreads_nan_to_every_gradient():
    ps = [one(0.0, math.nan), one(0.0, 1.0)]
    assert math.isnan(clip_grad_norm(ps, 1.0))
    assert np.isnan(ps[1].grad[0])


def test_clip_below_the_limit_leaves_every_bit():
    ps = parameters(arrays(0))
    for p, gradient in zip(ps, arrays(1), strict=True):
        p.grad[...] = gradient
    before = [p.grad.tobytes() for p in ps]
    norm = clip_grad_norm(ps, math.inf)
    assert norm == pytest.approx(math.sqrt(sum((a.astype(float) ** 2).sum() for a in arrays(1))))
    clip_grad_norm(ps, 2 * norm)
    assert [p.grad.tobytes() for p in ps] == before


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 7.0, 1e6])
def test_clip_equals_pytorch(max_norm):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(v, requires_grad=True) for v in arrays(0)]
    ps = parameters(arrays(0), gap=1)
    for p, t, gradient in zip(ps, tensors, arrays(1), strict=True):
        p.grad[...] = gradient
        t.grad = torch.tensor(gradient)
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm).item()
    # PyTorch adds up squares in float32: 1e-6 is for its rounding.
    assert clip_grad_norm(ps, max_norm) == pytest.approx(expected, rel=1e-6)
    for p, t in zip(ps, tensors, strict=True):
        np.testing.assert_allclose(p.grad, t.grad.numpy(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clip_of_a_gradient_that_is_not_finite_equals_pytorch(value):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3, requires_grad=True)
    tensor.grad = torch.tensor([1.0, value, 2.0])
    p = Parameter(np.zeros(3, np.float32), "p")
    p.grad[:] = tensor.grad.numpy()
    expected = torch.nn.utils.clip_grad_norm_([tensor], 1.0).item()
    np.testing.assert_equal(clip_grad_norm([p], 1.0), expected)
    np.testing.assert_array_equal(p.grad, tensor.grad.numpy())


def test_clip_of_huge_and_tiny_gradients_neither_overflows_nor_vanishes():
    huge, tiny = [one(0.0, 3e38), one(0.0, 3e38)], [one(0.0, 1e-30)]
    assert clip_grad_norm(huge, 1.0) == pytest.approx(3e38 * math.sqrt(2), rel=1e-6)
    assert huge[0].grad[0] == pytest.approx(math.sqrt(0.5), rel=1e-6)
    assert clip_grad_norm(tiny, 1.0) == pytest.approx(1e-30, rel=1e-6)


def test_clip_norm_has_the_same_bits_for_any_number_of_threads(keep_threads):
    p = Parameter(np.zeros(200_003, np.float32), "p")
    p.grad[:] = np.random.default_rng(1).normal(size=p.size)
    norms = set()
    for threads in (1, 2, 3, 8):
        set_num_threads(threads)
        norms.add(clip_grad_norm([p], math.inf))
    assert len(norms) == 1


@pytest.mark.parametrize(
    ("max_norm", "error"), [(-1.0, ValueError), (math.nan, ValueError), ("1", TypeError)]
)
def test_clip_with_a_wrong_limit_names_it(max_norm, error):
    with pytest.raises(error, match="max_norm is"):
        clip_grad_norm([one(0.0, 1.0)], max_norm)


# --- errors ---------------------------------------------------------------------------------


def double_precision():
    p = Parameter(np.zeros(2), "wide")
    return [p]


def read_only():
    p = one(0.0, 0.0)
    p.data.flags.writeable = False
    return [p]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([{"params": [], "lr": 1.0}], TypeError, "parameter groups are not supported"),
        ({"params": []}, TypeError, "params is dict; expected model.parameters()"),
        (one(0.0, 0.0), TypeError, "params is Parameter"),
        (3, TypeError, "params is int"),
        ([np.zeros(3, np.float32)], TypeError, r"params\[0\] is ndarray"),
        ([], ValueError, "params is empty"),
        ([one(0.0, 0.0)] * 2, ValueError, "same Parameter twice"),
        (double_precision(), ValueError, "the data of Parameter.* is float64"),
        (read_only(), ValueError, "expected a writable"),
    ],
)
def test_optimizer_of_something_else_says_what_was_expected(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params, lr=0.1)


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (SGD, {}, TypeError, "lr"),
        (SGD, {"lr": -1.0}, ValueError, "lr is -1.0"),
        (SGD, {"lr": "0.1"}, TypeError, "lr is '0.1'"),
        (SGD, {"lr": 0.1, "momentum": -0.1}, ValueError, "momentum is -0.1"),
        (SGD, {"lr": 0.1, "maximize": True}, TypeError, "maximize"),
        (SGD, {"lr": 0.1, "nesterov": 1}, TypeError, "nesterov is 1"),
        (SGD, {"lr": 0.1, "nesterov": True}, ValueError, "expected momentum > 0"),
        (
            SGD,
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "nesterov": True},
            ValueError,
            "dampening = 0",
        ),
        (Adam, {"betas": 0.9}, TypeError, "betas is 0.9"),
        (Adam, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] is 1.0"),
        (Adam, {"amsgrad": True}, TypeError, "amsgrad"),
        (AdamW, {"eps": math.inf}, ValueError, "eps is inf"),
    ],
)
def test_constructor_with_a_wrong_argument_names_it(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind([one(0.0, 0.0)], **arguments)


def test_parameters_may_come_from_a_generator():
    ps = parameters(arrays(0))
    assert isinstance(SGD((p for p in ps), lr=0.1), Optimizer)


def test_repr_shows_the_hyper_parameters():
    text = "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)"
    assert repr(Adam(parameters(arrays(0)))) == text
