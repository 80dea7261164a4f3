"""Guarded buffers and comparisons that a wrong kernel does not get past.

A kernel test gives the kernel outputs from `guarded` and inputs from `guarded_copy`, calls it,
and then asks: were all cells written (`check_written`), was anything outside touched
(`check_guards`), are the inputs unchanged (`check_unchanged`), are the numbers right
(`assert_close`), and are the bits the same for every number of threads (`assert_same_bits`)?
`test_checks.py` shows that each of these fails when it should.
"""

import ctypes
import functools
import math
import mmap
import os
from dataclasses import dataclass, field

import numpy as np

THREADS = (1, 2, 3)
UNIT_ROUNDOFF = 2.0**-24  # of float32: half the gap between 1 and the next number

# Repeated, these bytes are NaN as float32 and as float64, 0x7FFDA5A5 as int32 and never 0 or 1
# as uint8: reading them spoils a result, and no kernel writes them by chance.
_PATTERN = np.frombuffer(b"\xa5\xa5\xfd\x7f", np.uint8)
_ZONE = 256  # bytes on each side; a multiple of the pattern and of every itemsize


@dataclass
class Guarded:
    """An array inside a larger buffer. `place` says where the array lies:

    "middle": pattern on both sides;
    "start", "end": flush against a page that can be neither read nor written, so that the first
    access beyond it ends the process; pattern on the other side. (On POSIX; else "middle".)

    Under scripts/sanitize.sh there are no zones: AddressSanitizer surrounds the allocation.
    """

    array: np.ndarray
    before: np.ndarray = field(repr=False)
    after: np.ndarray = field(repr=False)
    original: bytes | None = field(default=None, repr=False)

    def check_guards(self):
        """Fails when a byte outside the array has changed."""
        for side, zone in (("before", self.before), ("after", self.after)):
            changed = np.flatnonzero(zone != _pattern(zone.size))
            assert changed.size == 0, (
                f"{changed.size} bytes written {side} the array of shape {self.array.shape}, "
                f"the first at offset {changed[0]} of {zone.size} in that zone"
            )

    def check_written(self):
        """Fails when an element still holds the fill pattern."""
        fill = _pattern(self.array.nbytes).view(self.array.dtype)
        unwritten = np.flatnonzero(_bits(self.array.ravel()) == _bits(fill))
        assert unwritten.size == 0, (
            f"{unwritten.size} of {self.array.size} elements never written, the first at "
            f"{_position(self.array, unwritten[0])}"
        )

    def check_untouched(self):
        """Fails when any element of an output was written."""
        fill = _pattern(self.array.nbytes).view(self.array.dtype)
        assert_same_bits(self.array.ravel(), fill)

    def check_unchanged(self):
        """Fails when the array of a `guarded_copy` is no longer what it was."""
        before = np.frombuffer(self.original, self.array.dtype)
        changed = np.flatnonzero(_bits(self.array.ravel()) != _bits(before))
        assert changed.size == 0, (
            f"an input was changed at {_position(self.array, changed[0])}: "
            f"{before[changed[0]]} became {self.array.ravel()[changed[0]]}"
        )


def guarded(shape, dtype=np.float32, place="middle"):
    """An output array that holds the fill pattern (NaN for floats), inside guard zones."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if os.environ.get("MINICNN_SANITIZE") == "1":
        buffer, start = np.empty(size, np.uint8), 0
    elif place == "middle" or os.name != "posix":
        buffer, start = np.empty(size + 2 * _ZONE, np.uint8), _ZONE
    else:
        buffer = _between_guard_pages(size + _ZONE)
        start = 0 if place == "start" else buffer.size - size
    stop = start + size
    array = buffer[start:stop].view(dtype).reshape(shape)
    zones = Guarded(array, before=buffer[:start], after=buffer[stop:])
    for part in (zones.before, array.reshape(-1).view(np.uint8), zones.after):
        part[:] = _pattern(part.size)
    return zones


def guarded_copy(values, place="middle"):
    """An input array inside guard zones; reading beyond it gives NaN."""
    values = np.asarray(values)
    copy = guarded(values.shape, values.dtype, place)
    copy.array[...] = values
    copy.original = copy.array.tobytes()
    return copy


def sum_tolerance(length):
    """Relative error allowed for a float32 sum of `length` products, in any order.

    To be multiplied by Σ|aᵢ·bᵢ|. Rounding errors behave like independent draws, so they grow
    with √length, not with length; 6 is beyond six standard deviations. See docs/numerics.md.
    """
    return 6.0 * math.sqrt(length + 2) * UNIT_ROUNDOFF


def assert_close(actual, expected, tolerance, scale=None, *, may_be_zero=False):
    """Fails unless |actual - expected| <= tolerance · scale for every element.

    scale: an array or number; |expected| if not given. Where `expected` is not finite, `actual`
    must be the same infinity or NaN. A bound so wide that an array of zeros would pass proves
    nothing and fails too, unless `may_be_zero` says that zeros are a proper answer.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    scale = np.abs(expected) if scale is None else scale
    bound = np.broadcast_to(tolerance * np.asarray(scale, np.float64), expected.shape)
    special = ~np.isfinite(expected)
    if not may_be_zero and expected.size:
        seen = special | (np.abs(expected) > bound)
        assert seen.any(), "an array of zeros would pass: the comparison proves nothing"
    with np.errstate(invalid="ignore"):
        right = np.abs(actual.astype(np.float64) - expected) <= bound
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    wrong = np.flatnonzero(~np.where(special, same, right | same))
    if wrong.size:
        first = np.unravel_index(wrong[0], expected.shape)
        raise AssertionError(
            f"{wrong.size} of {expected.size} elements differ, the first at "
            f"{tuple(map(int, first))}: got {actual[first]!r}, expected {expected[first]!r} "
            f"within {bound[first]:.3g}"
        )


def assert_same_bits(actual, expected):
    """Fails unless both arrays have the same type, shape and bytes (so -0 is not 0)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    different = np.flatnonzero(_bits(actual.ravel()) != _bits(expected.ravel()))
    assert different.size == 0, (
        f"{different.size} of {actual.size} elements have other bits, the first at "
        f"{_position(actual, different[0])}: {actual.ravel()[different[0]]!r} and "
        f"{expected.ravel()[different[0]]!r}"
    )


def _pattern(size):
    return np.tile(_PATTERN, size // _PATTERN.size + 1)[:size]


def _bits(array):
    """The elements as unsigned integers, so that NaN compares like everything else."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _position(array, flat):
    return tuple(int(i) for i in np.unravel_index(flat, array.shape))


@functools.cache
def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _between_guard_pages(size):
    """A uint8 array of whole pages, at least `size` long, with a forbidden page on each side."""
    page = mmap.PAGESIZE
    pages = -(-size // page)
    buffer = np.frombuffer(mmap.mmap(-1, (pages + 2) * page), np.uint8)
    libc = _libc()
    for forbidden in (buffer.ctypes.data, buffer.ctypes.data + (pages + 1) * page):
        if libc.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):
            raise OSError(ctypes.get_errno(), "mprotect refused a guard page")
    return buffer[page:-page]
