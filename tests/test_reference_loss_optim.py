"""Loss and optimizers of the oracle against numbers worked out by hand."""

import math

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

LOG2, LOG3 = math.log(2.0), math.log(3.0)
# Rows with probabilities (1/4, 3/4) and (1/2, 1/2).
LOGITS = np.array([[0.0, LOG3], [5.0, 5.0]])
LOG_4, LOG_4_3 = math.log(4.0), math.log(4.0 / 3.0)


def test_cross_entropy_plain_by_hand():
    assert_allclose(reference.softmax(LOGITS), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    loss, weight_sum = reference.cross_entropy_forward(LOGITS, [0, 1])
    assert_allclose(loss, (LOG_4 + LOG2) / 2, rtol=1e-15)
    assert weight_sum == 2
    dlogits = reference.cross_entropy_backward(LOGITS, [0, 1])
    assert_allclose(dlogits, [[-0.375, 0.375], [0.25, -0.25]], rtol=1e-15)


def test_cross_entropy_weights_divide_by_the_labels_weights():
    loss, weight_sum = reference.cross_entropy_forward(LOGITS, [0, 1], [3.0, 1.0])
    assert_allclose(loss, (3 * LOG_4 + LOG2) / 4, rtol=1e-15)
    assert weight_sum == 4
    dlogits = reference.cross_entropy_backward(LOGITS, [0, 1], [3.0, 1.0])
    assert_allclose(dlogits, [[-9 / 16, 9 / 16], [1 / 8, -1 / 8]], rtol=1e-15)


def test_cross_entropy_smoothing_by_hand():
    loss, _ = reference.cross_entropy_forward(LOGITS[:1], [0], None, -100, 0.5)
    assert_allclose(loss, 0.5 * LOG_4 + 0.25 * (LOG_4 + LOG_4_3), rtol=1e-15)
    dlogits = reference.cross_entropy_backward(LOGITS[:1], [0], None, -100, 0.5)
    assert_allclose(dlogits, [[0.25 - 0.75, 0.75 - 0.25]], rtol=1e-15)
    loss, _ = reference.cross_entropy_forward(LOGITS[:1], [0], [3.0, 1.0], -100, 0.5)
    assert_allclose(loss, (1.5 * LOG_4 + 0.25 * (3 * LOG_4 + LOG_4_3)) / 3, rtol=1e-15)


def test_cross_entropy_ignored_rows_do_not_count():
    loss, weight_sum = reference.cross_entropy_forward(LOGITS, [7, 1], None, 7, 0.0)
    assert_allclose(loss, LOG2, rtol=1e-15)
    assert weight_sum == 1
    dlogits = reference.cross_entropy_backward(LOGITS, [7, 1], None, 7, 0.0)
    assert_allclose(dlogits, [[0, 0], [0.5, -0.5]], rtol=1e-15)
    assert math.isnan(reference.cross_entropy_forward(LOGITS, [7, 7], None, 7, 0.1)[0])
    assert_array_equal(reference.cross_entropy_backward(LOGITS, [7, 7], None, 7), np.zeros((2, 2)))


def test_cross_entropy_wide_gaps_and_infinite_logits_stay_exact():
    loss, _ = reference.cross_entropy_forward([[0.0, 60.0]], [0])
    assert_allclose(loss, 60.0, rtol=1e-15)
    loss, _ = reference.cross_entropy_forward([[-1e38, 1e38]], [0])
    assert loss == 2e38
    loss, _ = reference.cross_entropy_forward([[-np.inf, 0.0, 0.0]], [1])
    assert_allclose(loss, LOG2, rtol=1e-15)


def test_sgd_plain_and_weight_decay_by_hand():
    assert_array_equal(reference.sgd_step([10.0], [4.0], None, lr=0.5)[0], [8])
    assert_array_equal(reference.sgd_step([10.0], [4.0], None, lr=0.5, weight_decay=0.2)[0], [7])


@pytest.mark.parametrize(
    ("options", "params", "buffers"),
    [
        ({}, [6, 2], [4, 4]),  # second buffer 0.5·4 + 2 = 4
        ({"dampening": 0.5}, [6, 3], [4, 3]),  # 0.5·4 + 0.5·2
        ({"nesterov": True}, [4, 0], [4, 4]),  # 4 + 0.5·4, then 2 + 0.5·4
    ],
)
def test_sgd_momentum_two_steps_by_hand(options, params, buffers):
    param, buffer = np.array([10.0]), None
    for grad, want_param, want_buffer in zip([4.0, 2.0], params, buffers, strict=True):
        param, buffer = reference.sgd_step(param, [grad], buffer, lr=1.0, momentum=0.5, **options)
        assert (param.item(), buffer.item()) == (want_param, want_buffer)


def test_adam_first_steps_by_hand():
    options = {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0}
    # Step 1: m = 2, v = 4; corrected 4 and 16; 10 - 0.5 · 4 / (4 + 1).
    param, m, v = reference.adam_step([10.0], [4.0], [0.0], [0.0], step=1, **options)
    assert_allclose([param.item(), m.item(), v.item()], [9.6, 2, 4], rtol=1e-15)
    # Step 2, gradient 0: m = 1, v = 3; corrected 4/3 and 48/7.
    param, m, v = reference.adam_step(param, [0.0], m, v, step=2, **options)
    want = 9.6 - 0.5 * (4 / 3) / (math.sqrt(48 / 7) + 1)
    assert_allclose([param.item(), m.item(), v.item()], [want, 1, 3], rtol=1e-15)


def test_adam_decay_coupled_enters_the_moments_decoupled_does_not():
    options = {"step": 1, "lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "weight_decay": 0.2}
    param, m, v = reference.adam_step([10.0], [2.0], [0.0], [0.0], **options)
    assert_allclose([param.item(), m.item(), v.item()], [9.6, 2, 4], rtol=1e-15)
    param, m, v = reference.adam_step([10.0], [4.0], [0.0], [0.0], decoupled=True, **options)
    assert_allclose([param.item(), m.item(), v.item()], [8.6, 2, 4], rtol=1e-15)


def test_clip_grad_norm_three_four_five():
    clipped, norm = reference.clip_grad_norm([[3.0], [4.0]], 1.0)
    assert norm == 5
    assert_allclose(np.concatenate(clipped), [0.6, 0.8], rtol=1e-6)
    clipped, _ = reference.clip_grad_norm([[3.0], [4.0]], 10.0)
    assert_array_equal(np.concatenate(clipped), [3, 4])
