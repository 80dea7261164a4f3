"""Softmax, and cross-entropy on logits, as torch.nn.functional.cross_entropy (reduction "mean").

With class weights w (1 if not given), label smoothing ε, K classes and V the rows whose label
is not `ignore_index`:

    loss = Σ_{i ∈ V} [ (1 - ε) · w[yᵢ] · (-log pᵢ[yᵢ]) + ε/K · Σ_c w[c] · (-log pᵢ[c]) ]
           / Σ_{i ∈ V} w[yᵢ]

So the smoothing term is weighted by every class's own weight, but divided by the weights of
the labels. If every row is ignored the loss is 0/0 = NaN.
"""

import numpy as np


def log_softmax(logits):
    """(N, K) -> (N, K): z - log Σ e^z, after subtracting the largest logit."""
    z = np.asarray(logits, np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits):
    """(N, K) -> (N, K), rows that sum to 1."""
    return np.exp(log_softmax(logits))


def cross_entropy_forward(
    logits, labels, class_weight=None, ignore_index=-100, label_smoothing=0.0
):
    """-> (loss, Σ w[y] over the rows that count)."""
    log_p, weight = log_softmax(logits), _weights(logits, class_weight)
    total, weight_sum = 0.0, 0.0
    for row, label in enumerate(labels):
        if label == ignore_index:
            continue
        total -= (1.0 - label_smoothing) * weight[label] * log_p[row, label]
        if label_smoothing:
            total -= label_smoothing / len(weight) * (weight * log_p[row]).sum()
        weight_sum += weight[label]
    return (total / weight_sum if weight_sum else np.float64(np.nan)), weight_sum


def cross_entropy_backward(
    logits, labels, class_weight=None, ignore_index=-100, label_smoothing=0.0
):
    """dlogits (N, K): d(-log p[c])/dz = p - onehot(c), summed with the weights of the loss.

    Ignored rows get 0, also when every row is ignored.
    """
    p, weight = softmax(logits), _weights(logits, class_weight)
    classes = len(weight)
    dlogits, weight_sum = np.zeros_like(p), 0.0
    for row, label in enumerate(labels):
        if label == ignore_index:
            continue
        target = label_smoothing / classes * weight
        target[label] += (1.0 - label_smoothing) * weight[label]
        dlogits[row] = target.sum() * p[row] - target
        weight_sum += weight[label]
    return dlogits / weight_sum if weight_sum else dlogits


def soft_cross_entropy_forward(logits, targets, class_weight=None, label_smoothing=0.0):
    """-> loss of targets (N, K) that are shares of classes; the mean is over all N rows."""
    shares = _smooth(targets, label_smoothing) * _weights(logits, class_weight)
    # A share of 0 counts for nothing, also where -log p is infinite.
    log_p = np.where(shares == 0, 0.0, log_softmax(logits))
    return -(shares * log_p).sum() / len(shares)


def soft_cross_entropy_backward(logits, targets, class_weight=None, label_smoothing=0.0):
    """dlogits (N, K)."""
    shares = _smooth(targets, label_smoothing) * _weights(logits, class_weight)
    total = shares.sum(axis=1, keepdims=True)
    return (total * softmax(logits) - shares) / len(shares)


def _smooth(targets, label_smoothing):
    targets = np.asarray(targets, np.float64)
    return (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]


def _weights(logits, class_weight):
    classes = np.shape(logits)[1]
    return np.ones(classes) if class_weight is None else np.asarray(class_weight, np.float64)
