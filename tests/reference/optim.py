"""One step of SGD, Adam and AdamW, and clipping by the global norm, as torch.optim.

Every function returns new arrays; a step is numbered from 1.
"""

import numpy as np


def sgd_step(
    param, grad, buffer, *, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
):
    """-> (param, buffer). `buffer` is None before the first step, which takes g undamped.

    g ← g + λ·p;  buf ← µ·buf + (1 - τ)·g;  g ← g + µ·buf if nesterov else buf;  p ← p - lr·g
    """
    param, grad = np.asarray(param, np.float64), np.asarray(grad, np.float64)
    grad = grad + weight_decay * param
    if momentum:
        if buffer is None:
            buffer = grad
        else:
            buffer = momentum * np.asarray(buffer, np.float64) + (1.0 - dampening) * grad
        grad = grad + momentum * buffer if nesterov else buffer
    return param - lr * grad, buffer


def adam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    decoupled=False,
):
    """-> (param, exp_avg, exp_avg_sq). `decoupled` is AdamW: the decay does not enter the moments.

    Sources: Kingma & Ba 2015, algorithm 1, with ε outside the root after the correction;
    Loshchilov & Hutter 2019, algorithm 2.
    """
    param, grad, exp_avg, exp_avg_sq = (
        np.asarray(array, np.float64) for array in (param, grad, exp_avg, exp_avg_sq)
    )
    if decoupled:
        param = param * (1.0 - lr * weight_decay)
    else:
        grad = grad + weight_decay * param
    exp_avg = beta1 * exp_avg + (1.0 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1.0 - beta2) * grad * grad
    mean = exp_avg / (1.0 - beta1**step)
    variance = exp_avg_sq / (1.0 - beta2**step)
    return param - lr * mean / (np.sqrt(variance) + eps), exp_avg, exp_avg_sq


def clip_grad_norm(grads, max_norm):
    """-> (clipped grads, norm before). The factor is max_norm / (norm + 1e-6), at most 1."""
    grads = [np.asarray(grad, np.float64) for grad in grads]
    norm = np.sqrt(sum((grad * grad).sum() for grad in grads))
    factor = min(1.0, max_norm / (norm + 1e-6))
    return [grad * factor for grad in grads], norm
