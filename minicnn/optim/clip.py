"""Clipping of gradients."""

import math
from collections.abc import Iterable

from ..arguments import real_number
from ..kernels import optim as kernel
from ..layers.base import Parameter
from ..threads import get_num_threads
from .segments import find_segments, parameter_list


def clip_grad_norm(params: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients down together so that their common norm is at most `max_norm`.

    norm = √(Σ g²) over all parameters; the gradients are multiplied by
    min(1, max_norm / (norm + 1e-6)), as in PyTorch. A norm of NaN makes every gradient NaN; an
    infinite one makes the finite gradients 0 and the infinite ones NaN.

    Parameters
    ----------
    params : iterable of Parameter
    max_norm : float
        Not negative; math.inf only measures.

    Returns
    -------
    float
        The norm before clipping. Its sum runs in a fixed order for any number of threads.
    """
    if max_norm != math.inf:
        max_norm = real_number(max_norm, "max_norm")
    segments = find_segments(parameter_list(params))
    threads = get_num_threads()
    norms = [kernel.grad_norm(segment.grad, threads) for segment in segments]
    norm = math.sqrt(sum(n * n for n in norms)) if len(norms) > 1 else norms[0]
    factor = max_norm / (norm + 1e-6)
    if max_norm != math.inf and not factor >= 1:  # "not >=" because a NaN must spread
        for segment in segments:
            kernel.scale(segment.grad, factor, threads)
    return float(norm)
