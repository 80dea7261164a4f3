"""y = x Wᵀ + b, as torch.nn.functional.linear."""

import numpy as np


def linear_forward(x, weight, bias=None):
    """x (N, I), weight (O, I), bias (O,) or None -> y (N, O)."""
    y = np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T
    return y if bias is None else y + np.asarray(bias, np.float64)


def linear_backward(x, weight, dy):
    """Gradients (dx, dweight, dbias) for dy (N, O)."""
    x, weight, dy = (np.asarray(array, np.float64) for array in (x, weight, dy))
    return dy @ weight, dy.T @ x, dy.sum(axis=0)
