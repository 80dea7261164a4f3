"""How a kernel is called in these tests: with every checker switched on.

`run` calls a kernel once for each number of threads, each time with its arrays at another kind
of place (see `checks.Guarded`), and returns its outputs after all checks but the numbers.
`refuse` asserts that a call is turned down before anything is written or allocated.
"""

import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from checks import THREADS, assert_same_bits, guarded, guarded_copy

PLACES = dict(zip(THREADS, ("middle", "end", "start"), strict=True))
# Around the limits of int32 and int64, where a size or a product would wrap.
HOSTILE = (0, -1, -(2**31), 2**31 - 1, 2**31, 2**31 + 1, 2**63 - 1, 2**63, -(2**63))


@dataclass(frozen=True)
class Out:
    """An output that the kernel must write completely."""

    shape: tuple[int, ...]
    dtype: Any = np.float32


@dataclass(frozen=True)
class InOut:
    """An array that the kernel reads and updates."""

    values: np.ndarray


def float32(array):
    """The array rounded to float32: what both the kernel and the oracle are given."""
    return np.ascontiguousarray(array, dtype=np.float32)


def normal(rng, *shape):
    """Standard normal float32 numbers."""
    return rng.standard_normal(shape).astype(np.float32)


def run(kernel, *arguments):
    """Outputs of kernel(*arguments, num_threads), in the order of the arguments.

    Arrays are inputs, `Out` and `InOut` are outputs; everything else is passed on. What the
    kernel returned, if not None, comes last. All numbers of threads must give the same bits.
    """
    first = None
    for threads, place in PLACES.items():
        outputs = _call(kernel, arguments, threads, place)
        if first is None:
            first = outputs
        for again, before in zip(outputs, first, strict=True):
            assert_same_bits(again, before)
    return first[0] if len(first) == 1 else first


def _call(kernel, arguments, threads, place):
    buffers = [_buffer(argument, place) for argument in arguments]
    result = kernel(*(getattr(buffer, "array", buffer) for buffer in buffers), threads)
    outputs = []
    for argument, buffer in zip(arguments, buffers, strict=True):
        if isinstance(argument, (np.ndarray, Out, InOut)):
            buffer.check_guards()
        if isinstance(argument, np.ndarray):
            buffer.check_unchanged()
        elif isinstance(argument, Out):
            buffer.check_written()
        if isinstance(argument, (Out, InOut)):
            outputs.append(buffer.array)
    return outputs if result is None else [*outputs, *np.atleast_1d(result)]


def _buffer(argument, place):
    if isinstance(argument, Out):
        return guarded(argument.shape, argument.dtype, place)
    if isinstance(argument, InOut):
        return guarded_copy(argument.values, place)
    if isinstance(argument, np.ndarray):
        copy = guarded_copy(argument, place)
        copy.array.flags.writeable = place != "end"  # weights may come from a read-only file
        return copy
    return argument


def refuse(kernel, *arguments, match, error=ValueError, threads=1):
    """The call raises exactly `error` with a message like `match`, and has written nothing."""
    buffers = [_buffer(argument, "middle") for argument in arguments]
    values = [getattr(buffer, "array", buffer) for buffer in buffers]
    tracemalloc.start()
    try:
        with pytest.raises(error, match=match) as caught:
            kernel(*values, threads)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.type is error
    assert peak < 100_000, f"{peak} bytes allocated by a call that is refused"
    for argument, buffer in zip(arguments, buffers, strict=True):
        if isinstance(argument, Out):
            buffer.check_untouched()
        elif isinstance(argument, (np.ndarray, InOut)):
            buffer.check_unchanged()


def refuse_threads(kernel, *arguments):
    """Any number of threads below 1, or absurdly large, is refused."""
    for threads in HOSTILE:
        refuse(kernel, *arguments, match="num_threads", threads=threads)
    for threads in (1.5, "2", None):
        refuse(kernel, *arguments, match="int", error=TypeError, threads=threads)


def refuse_wrong_arrays(kernel, *arguments):
    """Every array argument: another dtype, rank or memory order, or a read-only output."""
    for number, argument in enumerate(arguments):
        if not isinstance(argument, (np.ndarray, Out, InOut)):
            continue
        shape, dtype = _kind(argument)
        wrong = [np.zeros(shape, np.float64), np.zeros((*shape, 1), dtype)]
        wrong.append(np.zeros((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2])
        if not isinstance(argument, np.ndarray):
            wrong.append(np.zeros(shape, dtype))
            wrong[-1].flags.writeable = False
        for array in wrong:
            trial = [*arguments[:number], _Raw(array), *arguments[number + 1 :]]
            refuse(kernel, *trial, match="[Bb]uffer|contiguous|read-only")


@dataclass(frozen=True)
class _Raw:
    """An array passed as it is, not copied into a guarded buffer."""

    array: np.ndarray


def _kind(argument):
    if isinstance(argument, Out):
        return argument.shape, argument.dtype
    array = getattr(argument, "values", argument)
    return array.shape, array.dtype
