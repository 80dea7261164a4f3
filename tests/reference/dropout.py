"""Inverted dropout for a given mask, and the generator that makes the masks.

Source of the generator: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
"""

import numpy as np

_WORD = 0xFFFFFFFF


def dropout_apply(x, mask, p):
    """x · mask / (1 - p); all zeros for p = 1."""
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return np.where(np.asarray(mask, bool), np.asarray(x, np.float64) * scale, 0.0)


def dropout_backward(dy, mask, p):
    """The same map, applied to dy."""
    return dropout_apply(dy, mask, p)


def philox4x32(counter, key):
    """Philox4x32-10: four output words for four counter words and two key words (ints)."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ k0, right & _WORD, (left >> 32) ^ d ^ k1, left & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return a, b, c, d
