"""CrossEntropyLoss: values worked out by hand, PyTorch, what is remembered, and every error.

Tolerances: the loss is summed in double from float32 logits, so only the final value's own
rounding remains (1e-6 relative allows several). Probabilities are rounded to float32 once
(6e-8) and a gradient is a difference of two such numbers: 1e-6 absolute.
"""

import itertools
import math

import numpy as np
import pytest

from minicnn.layers import inference
from minicnn.losses import CrossEntropyLoss

LOSS, GRADIENT = {"rel": 1e-6}, {"rtol": 0, "atol": 1e-6}


def batch(n=7, k=5, seed=3):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(n, k)).astype(np.float32), rng.integers(0, k, n)


# --- by hand ------------------------------------------------------------------------------


def test_loss_of_equal_logits_is_the_log_of_the_number_of_classes():
    loss_fn = CrossEntropyLoss()
    loss = loss_fn(np.zeros((2, 4), np.float32), [1, 3])
    assert type(loss) is float and loss == pytest.approx(math.log(4), **LOSS)
    expected = np.array([[0.25, -0.75, 0.25, 0.25], [0.25, 0.25, 0.25, -0.75]]) / 2
    gradient = loss_fn.backward()
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, expected, **GRADIENT)


def test_loss_with_smoothing_adds_the_mean_over_the_classes():
    # p = (3/4, 1/4); the target is (1 - 0.2 + 0.1, 0.1).
    loss_fn = CrossEntropyLoss(label_smoothing=0.2)
    loss = loss_fn([[math.log(3), 0.0]], [0])
    assert loss == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4), **LOSS)
    np.testing.assert_allclose(loss_fn.backward(), [[0.75 - 0.9, 0.25 - 0.1]], **GRADIENT)


def test_loss_with_weights_divides_by_the_sum_of_the_weights():
    loss_fn = CrossEntropyLoss(weight=[1, 3])
    loss = loss_fn([[math.log(3), 0.0], [math.log(3), 0.0]], [0, 1])
    assert loss == pytest.approx(-(math.log(3 / 4) + 3 * math.log(1 / 4)) / 4, **LOSS)
    expected = np.array([[-0.25, 0.25], [3 * 0.75, -3 * 0.75]]) / 4
    np.testing.assert_allclose(loss_fn.backward(), expected, **GRADIENT)


def test_loss_with_smoothing_and_weights_weighs_every_log_probability():
    # loss = [-0.8 w0 log p0 - 0.1 (w0 log p0 + w1 log p1)] / w0 with w = (2, 3), p = (3/4, 1/4)
    loss_fn = CrossEntropyLoss(weight=[2, 3], label_smoothing=0.2)
    p = math.log(3 / 4), math.log(1 / 4)
    expected = (-0.8 * 2 * p[0] - 0.1 * (2 * p[0] + 3 * p[1])) / 2
    assert loss_fn([[math.log(3), 0.0]], [0]) == pytest.approx(expected, **LOSS)
    # The target (0.9, 0.15) sums to 1.05: dlogits = 1.05 p - target.
    expected = [[1.05 * 0.75 - 0.9, 1.05 * 0.25 - 0.15]]
    np.testing.assert_allclose(loss_fn.backward(), expected, **GRADIENT)


@pytest.mark.parametrize("gap", [60.0, 1e4, 1e38])
def test_loss_of_a_wide_gap_is_the_gap(gap):
    loss_fn = CrossEntropyLoss()
    assert loss_fn([[0.0, gap], [gap, 0.0]], [0, 0]) == pytest.approx(gap / 2, **LOSS)
    np.testing.assert_allclose(loss_fn.backward(), [[-0.5, 0.5], [0, 0]], **GRADIENT)


@pytest.mark.parametrize("ignored", [-100, 1])
def test_ignored_samples_count_for_nothing(ignored):
    logits, labels = batch()
    labels[[1, 4]] = ignored
    kept = labels != ignored
    loss_fn, alone = CrossEntropyLoss(ignore_index=ignored), CrossEntropyLoss()
    assert loss_fn(logits, labels) == pytest.approx(alone(logits[kept], labels[kept]), **LOSS)
    gradient = loss_fn.backward()
    assert not gradient[~kept].any()
    np.testing.assert_allclose(gradient[kept], alone.backward(), **GRADIENT)


def test_loss_with_every_sample_ignored_is_nan():
    loss_fn = CrossEntropyLoss()
    assert math.isnan(loss_fn(np.zeros((2, 3), np.float32), [-100, -100]))


# --- PyTorch ----------------------------------------------------------------------------------

CASES = list(itertools.product([None, [0.5, 2.0, 0.0, 1.0, 3.0]], [-100, 2], [0.0, 0.1, 1.0]))


@pytest.mark.parametrize(("weight", "ignore_index", "label_smoothing"), CASES)
def test_loss_and_gradient_equal_pytorch(weight, ignore_index, label_smoothing):
    torch = pytest.importorskip("torch")
    logits, labels = batch(n=33)
    labels[::6] = ignore_index
    ours = CrossEntropyLoss(weight, ignore_index, label_smoothing)
    theirs = torch.nn.CrossEntropyLoss(
        None if weight is None else torch.tensor(weight),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    x = torch.tensor(logits, requires_grad=True)
    expected = theirs(x, torch.tensor(labels))
    expected.backward()
    assert ours(logits, labels) == pytest.approx(expected.item(), **LOSS)
    np.testing.assert_allclose(ours.backward(), x.grad.numpy(), **GRADIENT)


def test_all_ignored_equals_pytorch():
    torch = pytest.importorskip("torch")
    logits, _ = batch(n=2)
    labels = np.full(2, -100)
    x = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.CrossEntropyLoss()(x, torch.tensor(labels))
    expected.backward()
    ours = CrossEntropyLoss()
    assert math.isnan(expected.item()) and math.isnan(ours(logits, labels))
    np.testing.assert_array_equal(ours.backward(), x.grad.numpy())


# --- what is remembered -------------------------------------------------------------------


def test_backward_before_any_loss_is_a_runtime_error():
    with pytest.raises(RuntimeError, match="before any loss was computed"):
        CrossEntropyLoss().backward()


def test_inference_remembers_nothing_and_keeps_what_was_there():
    logits, labels = batch()
    loss_fn = CrossEntropyLoss()
    with inference():
        inside = loss_fn(logits, labels)
    with pytest.raises(RuntimeError):
        loss_fn.backward()
    assert loss_fn(logits, labels) == inside
    before = loss_fn.backward()
    with inference():
        loss_fn(-logits, labels)
    np.testing.assert_array_equal(loss_fn.backward(), before)


def test_backward_does_not_see_arrays_changed_after_the_loss():
    logits, labels = batch()
    loss_fn = CrossEntropyLoss()
    loss_fn(logits, labels)
    before = loss_fn.backward()
    logits[...] = 0
    labels[...] = 0
    after = loss_fn.backward()
    np.testing.assert_array_equal(after, before)
    assert after is not before and not np.shares_memory(after, before)


def test_two_losses_do_not_share_what_they_remember():
    logits, labels = batch()
    first, second = CrossEntropyLoss(), CrossEntropyLoss()
    first(logits, labels)
    expected = first.backward()
    second(-logits, labels)
    np.testing.assert_array_equal(first.backward(), expected)


def test_class_weights_are_copied():
    weight = np.ones(5, np.float32)
    loss_fn = CrossEntropyLoss(weight)
    weight[:] = 7
    assert loss_fn.hyper_parameters()["weight"] == [1.0] * 5


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_give_the_same_loss(dtype):
    logits, labels = batch()
    assert CrossEntropyLoss()(logits, labels.astype(dtype)) == CrossEntropyLoss()(logits, labels)


def test_logits_of_other_layouts_give_the_same_loss():
    logits, labels = batch()
    loss = CrossEntropyLoss()(logits, labels)
    assert CrossEntropyLoss()(np.asfortranarray(logits), labels) == loss
    assert CrossEntropyLoss()(logits.astype(np.float64), labels) == loss


def test_hyper_parameters_make_an_equal_loss():
    loss_fn = CrossEntropyLoss([1, 2, 0.5], ignore_index=1, label_smoothing=0.25)
    expected = {"weight": [1.0, 2.0, 0.5], "ignore_index": 1, "label_smoothing": 0.25}
    assert loss_fn.hyper_parameters() == expected
    assert CrossEntropyLoss(**expected).hyper_parameters() == expected
    assert repr(loss_fn) == (
        "CrossEntropyLoss(weight=[1.0, 2.0, 0.5], ignore_index=1, label_smoothing=0.25)"
    )


# --- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"reduction": "sum"}, TypeError, "reduction"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing is 1.5"),
        ({"label_smoothing": math.nan}, ValueError, "label_smoothing is nan"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index is 1.0"),
        ({"weight": "balanced"}, TypeError, "weight has dtype"),
        ({"weight": [[1.0, 2.0]]}, ValueError, r"weight has shape \(1, 2\); expected \(K,\)"),
        ({"weight": [1.0, -1.0]}, ValueError, r"weight\[1\] is -1.0"),
        ({"weight": [math.nan, 1.0]}, ValueError, r"weight\[0\] is nan"),
        ({"weight": [1.0, 1e300]}, ValueError, r"weight\[1\] is 1e\+300"),
    ],
)
def test_constructor_with_a_wrong_argument_names_it(arguments, error, message):
    with pytest.raises(error, match=message):
        CrossEntropyLoss(**arguments)


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (np.zeros(3), [0], ValueError, r"logits have shape \(3,\); expected \(N, K\)"),
        (np.zeros((0, 3)), np.zeros(0, int), ValueError, r"logits have shape \(0, 3\)"),
        (np.zeros((2, 3), int), [0, 0], TypeError, "got int64"),
        (np.zeros((2, 3)), [0], ValueError, "got 1 for 2 samples"),
        (np.zeros((2, 3)), [0.0, 1.0], TypeError, "labels must be integers, got float64"),
        (np.zeros((1, 3)), [[0, 0, 1]], ValueError, "one-hot"),
        (np.zeros((2, 3)), [0, 3], ValueError, r"labels\[1\] is 3; .* 0\.\.2"),
        (np.zeros((2, 3)), [-1, 0], ValueError, r"labels\[0\] is -1; .* 0\.\.2"),
    ],
)
def test_loss_of_a_wrong_batch_says_what_was_expected(logits, labels, error, message):
    with pytest.raises(error, match=message):
        CrossEntropyLoss()(logits, labels)


def test_loss_with_a_wrong_number_of_class_weights_is_a_value_error():
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        CrossEntropyLoss([1, 1])(np.zeros((1, 3)), [0])


# --- shares of classes ----------------------------------------------------------------------


def test_loss_of_shares_is_the_mean_of_the_classes_losses_in_proportion():
    logits, _ = batch(2, 3)
    loss_fn = CrossEntropyLoss()
    halves = loss_fn(logits, np.array([[0.5, 0.5, 0], [0, 0.25, 0.75]]))
    single = [loss_fn(logits[:1], [0]), loss_fn(logits[:1], [1]),
              loss_fn(logits[1:], [1]), loss_fn(logits[1:], [2])]  # fmt: skip
    expected = (0.5 * single[0] + 0.5 * single[1] + 0.25 * single[2] + 0.75 * single[3]) / 2
    assert halves == pytest.approx(expected, **LOSS)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_of_shares_equals_pytorch(weighted, smoothing):
    torch = pytest.importorskip("torch")
    logits, _ = batch(6, 4)
    targets = np.random.default_rng(1).dirichlet(np.ones(4), 6).astype(np.float32)
    weight = np.array([0.5, 1, 2, 3], np.float32) if weighted else None
    loss_fn = CrossEntropyLoss(weight, label_smoothing=smoothing)
    z = torch.from_numpy(logits).requires_grad_()
    peer = torch.nn.CrossEntropyLoss(
        None if weight is None else torch.from_numpy(weight), label_smoothing=smoothing
    )(z, torch.from_numpy(targets))
    peer.backward()
    assert loss_fn(logits, targets) == pytest.approx(peer.item(), rel=1e-5)  # float32 there
    np.testing.assert_allclose(loss_fn.backward(), z.grad.numpy(), **GRADIENT)


def test_loss_of_shares_keeps_a_copy_of_them():
    logits, _ = batch(2, 3)
    targets = np.full((2, 3), 1 / 3, np.float32)
    loss_fn = CrossEntropyLoss()
    loss_fn(logits, targets)
    expected = loss_fn.backward()
    targets[...] = 0
    np.testing.assert_array_equal(loss_fn.backward(), expected)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.full((2, 3), 0.5), "shares of the classes.*sums of 1.5"),
        ([[1.5, -0.5, 0], [1, 0, 0]], "shares of the classes"),
        ([[np.nan, 0.5, 0.5], [1, 0, 0]], "shares of the classes"),
        (np.full((3, 3), 1 / 3), "got 3 for 2 samples"),
        (np.full((2, 4), 1 / 4), r"targets has shape \(2, 4\)"),
        ([[1, 0, 0], [0, 1, 0]], "one class number a sample.*argmax"),
    ],
)
def test_loss_of_what_are_no_shares_is_an_error(targets, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropyLoss()(np.zeros((2, 3), np.float32), targets)
