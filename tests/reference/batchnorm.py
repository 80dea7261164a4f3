"""Batch normalisation over every axis but the channel axis, as torch.nn.functional.batch_norm.

x is (N, C, S), S being H·W, or 1 for the one-dimensional layer.

Conventions: `momentum` weighs the *new* value; the batch is normalised with the biased
variance (divided by m = N·S) and the unbiased one (divided by m - 1) enters `running_var`.
"""

import numpy as np


def batchnorm_train_forward(x, weight, bias, running_mean, running_var, momentum, eps):
    """-> (y, mean, inv_std, new running_mean, new running_var); weight and bias may be None."""
    x = np.asarray(x, np.float64)
    count = x.shape[0] * x.shape[2]
    mean = x.mean(axis=(0, 2))
    variance = ((x - mean[:, None]) ** 2).mean(axis=(0, 2))
    inv_std = 1.0 / np.sqrt(variance + eps)
    unbiased = variance * count / (count - 1)
    y = _scale((x - mean[:, None]) * inv_std[:, None], weight, bias)
    return (
        y,
        mean,
        inv_std,
        _move(running_mean, mean, momentum),
        _move(running_var, unbiased, momentum),
    )


def batchnorm_train_backward(x, weight, dy, eps):
    """(dx, dweight, dbias), through the mean and the variance of the batch."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    count = x.shape[0] * x.shape[2]
    mean = x.mean(axis=(0, 2))
    inv_std = 1.0 / np.sqrt(((x - mean[:, None]) ** 2).mean(axis=(0, 2)) + eps)
    normal = (x - mean[:, None]) * inv_std[:, None]
    dweight, dbias = (dy * normal).sum(axis=(0, 2)), dy.sum(axis=(0, 2))
    centred = dy - dbias[:, None] / count - normal * dweight[:, None] / count
    return _scale(centred * inv_std[:, None], weight, None), dweight, dbias


def batchnorm_eval_forward(x, weight, bias, running_mean, running_var, eps):
    """y, normalised with the running statistics."""
    return _scale(_frozen(x, running_mean, running_var, eps), weight, bias)


def batchnorm_eval_backward(x, weight, dy, running_mean, running_var, eps):
    """(dx, dweight, dbias) with the statistics held fixed."""
    dy = np.asarray(dy, np.float64)
    inv_std = 1.0 / np.sqrt(np.asarray(running_var, np.float64) + eps)
    normal = _frozen(x, running_mean, running_var, eps)
    dx = _scale(dy * inv_std[:, None], weight, None)
    return dx, (dy * normal).sum(axis=(0, 2)), dy.sum(axis=(0, 2))


def _frozen(x, running_mean, running_var, eps):
    x, mean, var = (np.asarray(array, np.float64) for array in (x, running_mean, running_var))
    return (x - mean[:, None]) / np.sqrt(var[:, None] + eps)


def _scale(normal, weight, bias):
    if weight is not None:
        normal = normal * np.asarray(weight, np.float64)[:, None]
    return normal if bias is None else normal + np.asarray(bias, np.float64)[:, None]


def _move(running, new, momentum):
    if running is None:
        return None
    return (1.0 - momentum) * np.asarray(running, np.float64) + momentum * new
