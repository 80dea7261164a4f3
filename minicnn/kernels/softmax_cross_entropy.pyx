"""Softmax and the cross-entropy of logits with labels: class numbers, or shares of classes.

    logits, probabilities, dlogits (N, K)   labels (N,) int64   w = class_weight (K,) or all 1

    log p[n, k] = z[n, k] - log sum_j exp z[n, j],   z = logits - their row's maximum
    loss  = 1/W sum_n ( (1 - s) w[y_n] (-log p[n, y_n]) + s/K sum_k w[k] (-log p[n, k]) )
    W     = sum_n w[y_n],   s = label_smoothing
    dlogits[n, k] = 1/W ( (1 - s) w[y_n] (p[n, k] - [k = y_n]) + s/K (p[n, k] sum_j w[j] - w[k]) )

Rows whose label is ignore_index are left out of every sum and have a zero gradient. When all are
left out the loss is nan (0/0) and the gradient 0, as in PyTorch. The maximum is subtracted first,
so exp never overflows; -log p is computed from z, never as the log of a rounded p, so it stays
right when p is 0. Everything is in double and rounded once.
"""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport exp, log
from libc.stdint cimport int64_t

from minicnn.kernels.checks import (
    check_not_empty, check_probability, check_shape, check_threads,
)


def softmax(const float[:, ::1] logits not None, float[:, ::1] out not None, num_threads):
    """out = softmax of each row of logits, both (N, K). Raises ValueError when shapes differ."""
    cdef int threads = check_threads(num_threads, 10.0 * logits.size)
    cdef Py_ssize_t n
    check_matrix("out", logits, out)
    for n in prange(logits.shape[0], nogil=True, num_threads=threads, use_threads_if=threads > 1):
        softmax_row(&logits[n, 0], &out[n, 0], logits.shape[1])


def softmax_cross_entropy_forward(
    const float[:, ::1] logits not None,        # (N, K)
    const int64_t[::1] labels not None,         # (N,), each in 0..K-1 or ignore_index
    const float[::1] class_weight,              # (K,) or None
    int64_t ignore_index, label_smoothing,
    float[:, ::1] probabilities not None,       # (N, K), overwritten
    num_threads,
):
    """Return (loss, W), two Python floats, and fill `probabilities`.

    Raises ValueError when shapes disagree, label_smoothing is not in [0, 1], or a label is out
    of range (checked before anything is written).
    """
    cdef int threads = check_threads(num_threads, 10.0 * logits.size)
    cdef double smoothing = check_probability("label_smoothing", label_smoothing)
    cdef Py_ssize_t N = logits.shape[0], K = logits.shape[1], n
    cdef double total = 0.0, weight_sum = 0.0
    check_matrix("probabilities", logits, probabilities)
    check_labels(labels, class_weight, ignore_index, N, K)
    cdef double[::1] losses = np.empty(N, np.float64)
    # 1. Each row by itself.
    for n in prange(N, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        losses[n] = forward_row(&logits[n, 0], labels[n], class_weight, ignore_index, smoothing,
                                &probabilities[n, 0], K)
    # 2. The rows in order, so that the sum does not depend on the threads.
    for n in range(N):
        if labels[n] != ignore_index:
            total += losses[n]
            weight_sum += 1.0 if class_weight is None else class_weight[labels[n]]
    return total / weight_sum, weight_sum           # C division: 0/0 is nan, not an error


cdef double forward_row(
    const float* logits, int64_t label, const float[::1] class_weight, int64_t ignore_index,
    double smoothing, float* probabilities, Py_ssize_t K,
) noexcept nogil:
    """The row's share of the loss before the division by W."""
    cdef double largest = row_maximum(logits, K)
    cdef double log_sum = softmax_row(logits, probabilities, K)     # log sum_j exp z[j]
    cdef double loss, spread = 0.0
    cdef Py_ssize_t k
    if label == ignore_index:
        return 0.0
    # z first: log_sum would vanish beside a logit of 1e20.
    loss = log_sum - (logits[label] - largest)
    if class_weight is not None:
        loss = loss * class_weight[label]
    if smoothing == 0.0:                    # an infinite -log p elsewhere must not become nan
        return loss
    for k in range(K):
        spread = spread + (log_sum - (logits[k] - largest)) * (
            1.0 if class_weight is None else class_weight[k])
    return (1.0 - smoothing) * loss + smoothing / K * spread


def softmax_cross_entropy_backward(
    const float[:, ::1] probabilities not None,     # (N, K), from the forward pass
    const int64_t[::1] labels not None,             # (N,)
    const float[::1] class_weight,                  # (K,) or None
    int64_t ignore_index, label_smoothing,
    double weight_sum,                              # W, from the forward pass
    float[:, ::1] dlogits not None,                 # (N, K), overwritten
    num_threads,
):
    """The gradient of the mean loss. Raises ValueError as the forward pass does."""
    cdef int threads = check_threads(num_threads, 4.0 * probabilities.size)
    cdef double smoothing = check_probability("label_smoothing", label_smoothing)
    cdef Py_ssize_t N = probabilities.shape[0], K = probabilities.shape[1], n, k
    cdef double weight_of_all = K
    check_matrix("dlogits", probabilities, dlogits)
    check_labels(labels, class_weight, ignore_index, N, K)
    if class_weight is not None:
        weight_of_all = 0.0
        for k in range(K):
            weight_of_all += class_weight[k]
    for n in prange(N, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        backward_row(&probabilities[n, 0], labels[n], class_weight, ignore_index, smoothing,
                     weight_sum, weight_of_all, &dlogits[n, 0], K)


cdef void backward_row(
    const float* probabilities, int64_t label, const float[::1] class_weight,
    int64_t ignore_index, double smoothing, double weight_sum, double weight_of_all,
    float* dlogits, Py_ssize_t K,
) noexcept nogil:
    cdef Py_ssize_t k
    cdef double weight, hard, soft
    if label == ignore_index:
        for k in range(K):
            dlogits[k] = 0.0
        return
    weight = 1.0 if class_weight is None else class_weight[label]
    for k in range(K):
        hard = weight * (probabilities[k] - (1.0 if k == label else 0.0))
        soft = probabilities[k] * weight_of_all - (
            1.0 if class_weight is None else class_weight[k])
        dlogits[k] = <float>(((1.0 - smoothing) * hard + smoothing / K * soft) / weight_sum)


def soft_cross_entropy_forward(
    const float[:, ::1] logits not None,        # (N, K)
    const float[:, ::1] targets not None,       # (N, K), shares of the classes
    const float[::1] class_weight,              # (K,) or None
    label_smoothing,
    float[:, ::1] probabilities not None,       # (N, K), overwritten
    num_threads,
):
    """Return the loss of targets t that are shares of classes, and fill `probabilities`.

        loss = 1/N sum_n sum_k w[k] t'[n, k] (-log p[n, k]),   t' = (1 - s) t + s/K

    Raises ValueError when shapes disagree or label_smoothing is not in [0, 1].
    """
    cdef int threads = check_threads(num_threads, 12.0 * logits.size)
    cdef double smoothing = check_probability("label_smoothing", label_smoothing)
    cdef Py_ssize_t N = logits.shape[0], K = logits.shape[1], n
    cdef double total = 0.0
    check_matrix("probabilities", logits, probabilities)
    check_matrix("targets", logits, targets)
    check_weights(class_weight, K)
    cdef double[::1] losses = np.empty(N, np.float64)
    # 1. Each row by itself.
    for n in prange(N, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        losses[n] = soft_forward_row(&logits[n, 0], &targets[n, 0], class_weight, smoothing,
                                     &probabilities[n, 0], K)
    # 2. The rows in order, so that the sum does not depend on the threads.
    for n in range(N):
        total += losses[n]
    return total / N                                # C division: 0/0 is nan, not an error


cdef double soft_forward_row(
    const float* logits, const float* targets, const float[::1] class_weight, double smoothing,
    float* probabilities, Py_ssize_t K,
) noexcept nogil:
    cdef double largest = row_maximum(logits, K)
    cdef double log_sum = softmax_row(logits, probabilities, K)     # log sum_j exp z[j]
    cdef double loss = 0.0, share
    cdef Py_ssize_t k
    for k in range(K):
        share = soft_share(targets, class_weight, smoothing, k, K)
        if share != 0.0:                    # an infinite -log p elsewhere must not become nan
            loss = loss + share * (log_sum - (logits[k] - largest))
    return loss


cdef double soft_share(
    const float* targets, const float[::1] class_weight, double smoothing, Py_ssize_t k,
    Py_ssize_t K,
) noexcept nogil:
    """w[k] t'[k]"""
    cdef double share = (1.0 - smoothing) * targets[k] + smoothing / K
    return share if class_weight is None else share * class_weight[k]


def soft_cross_entropy_backward(
    const float[:, ::1] probabilities not None,     # (N, K), from the forward pass
    const float[:, ::1] targets not None,           # (N, K)
    const float[::1] class_weight,                  # (K,) or None
    label_smoothing,
    float[:, ::1] dlogits not None,                 # (N, K), overwritten
    num_threads,
):
    """dlogits[n, k] = 1/N (p[n, k] sum_j w[j] t'[n, j] - w[k] t'[n, k])

    Raises ValueError as the forward pass does.
    """
    cdef int threads = check_threads(num_threads, 4.0 * probabilities.size)
    cdef double smoothing = check_probability("label_smoothing", label_smoothing)
    cdef Py_ssize_t N = probabilities.shape[0], K = probabilities.shape[1], n
    check_matrix("dlogits", probabilities, dlogits)
    check_matrix("targets", probabilities, targets)
    check_weights(class_weight, K)
    for n in prange(N, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        soft_backward_row(&probabilities[n, 0], &targets[n, 0], class_weight, smoothing, N,
                          &dlogits[n, 0], K)


cdef void soft_backward_row(
    const float* probabilities, const float* targets, const float[::1] class_weight,
    double smoothing, Py_ssize_t N, float* dlogits, Py_ssize_t K,
) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t k
    for k in range(K):
        total = total + soft_share(targets, class_weight, smoothing, k, K)
    for k in range(K):
        dlogits[k] = <float>((probabilities[k] * total
                              - soft_share(targets, class_weight, smoothing, k, K)) / N)


def count_correct(
    const float[:, ::1] logits not None, const int64_t[::1] labels not None,    # (N, K), (N,)
    int64_t ignore_index=-100,
):
    """Return in how many rows the largest logit is the label's; the first of equals counts.

    A NaN counts as the largest, as in numpy.argmax. Rows labelled ignore_index do not count.
    Raises ValueError when shapes disagree.
    """
    cdef Py_ssize_t N = logits.shape[0], K = logits.shape[1], n, k, best, correct = 0
    check_not_empty("logits", (N, K), first_axis=1)
    check_shape("labels", (labels.shape[0],), (N,))
    for n in range(N):
        best = 0
        for k in range(1, K):
            if not logits[n, k] <= logits[n, best] and logits[n, best] == logits[n, best]:
                best = k
        correct += labels[n] == best and labels[n] != ignore_index
    return correct


cdef double softmax_row(const float* logits, float* out, Py_ssize_t K) noexcept nogil:
    """out = softmax(logits); returns log sum_k exp z[k]."""
    cdef Py_ssize_t k
    cdef double largest = row_maximum(logits, K), total = 0.0
    for k in range(K):
        total = total + exp(logits[k] - largest)
    for k in range(K):
        out[k] = <float>(exp(logits[k] - largest) / total)
    return log(total)


cdef double row_maximum(const float* logits, Py_ssize_t K) noexcept nogil:
    cdef Py_ssize_t k
    cdef float largest = logits[0]
    for k in range(1, K):
        if logits[k] > largest:
            largest = logits[k]
    return largest


cdef check_matrix(name, const float[:, ::1] logits, const float[:, ::1] other):
    check_not_empty("logits", (logits.shape[0], logits.shape[1]), first_axis=1)
    check_shape(name, (other.shape[0], other.shape[1]), (logits.shape[0], logits.shape[1]))


cdef check_weights(const float[::1] class_weight, Py_ssize_t K):
    if class_weight is not None:
        check_shape("class_weight", (class_weight.shape[0],), (K,))


cdef check_labels(
    const int64_t[::1] labels, const float[::1] class_weight, int64_t ignore_index,
    Py_ssize_t N, Py_ssize_t K,
):
    cdef Py_ssize_t n
    check_shape("labels", (labels.shape[0],), (N,))
    check_weights(class_weight, K)
    for n in range(N):
        if labels[n] != ignore_index and not 0 <= labels[n] < K:
            raise ValueError(
                f"labels[{n}] is {labels[n]}; with {K} classes it must lie in 0..{K - 1} "
                f"or be ignore_index ({ignore_index})"
            )
