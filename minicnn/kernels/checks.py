"""What every kernel asks of its arguments before it touches memory.

The kernels run without bounds checks, so a call must be refused here whenever its arrays
disagree with each other or its window could leave the image. All arithmetic is on Python
integers, which cannot overflow. Each message says what was got, what was expected, and why.
"""

from operator import index
from typing import Any

MAX_THREADS = 1024
SERIAL_WORK = 2**15  # below this much, waking the threads takes longer than the work
INT32_MAX = 2**31 - 1

Shape = tuple[int, ...]


def check_threads(num_threads: int, work: float) -> int:
    """Return how many threads to use: `num_threads`, or 1 when they would not pay.

    `work` counts elementary operations, roughly: a multiply-add, or an element passed over. The
    number of threads must lie in 1..MAX_THREADS.
    """
    threads = index(num_threads)
    if not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"num_threads must be between 1 and {MAX_THREADS}, got {threads}")
    return threads if work >= SERIAL_WORK else 1


def check_shape(name: str, got: Shape, expected: Shape) -> None:
    """Require that array `name` has exactly the shape that the other arguments imply."""
    if got != expected:
        raise ValueError(f"{name} has shape {got}, but the other arguments imply {expected}")


def check_shapes(expected: Shape, **arrays: Any) -> None:
    """Require that each array has the shape `expected`; one that is None is left out."""
    for name, array in arrays.items():
        if array is not None:
            check_shape(name, tuple(array.shape), expected)


def check_not_empty(name: str, shape: Shape, first_axis: int = 0) -> None:
    """Require that no axis from `first_axis` on has size 0 (axis 0 is often a free batch)."""
    if 0 in shape[first_axis:]:
        raise ValueError(
            f"{name} has shape {shape}; axes {first_axis} to {len(shape) - 1} must not have size 0"
        )


def check_at_least(name: str, value: int, minimum: int) -> int:
    """Return `value` as an int that is not below `minimum`."""
    number = index(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number


def check_unsigned(name: str, value: int, bits: int) -> int:
    """Return `value` as an int in 0..2**bits - 1."""
    number = index(value)
    if not 0 <= number < 2**bits:
        raise ValueError(f"{name} must be between 0 and 2**{bits} - 1, got {number}")
    return number


def check_probability(name: str, value: float) -> float:
    """Return `value` as a float in [0, 1]; NaN is refused."""
    number = float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must be between 0 and 1, got {number}")
    return number


def check_pool_axis(axis: str, size: int, out: int, kernel: int, stride: int, pad: int) -> None:
    """Require that `out` is the floor or the ceil size of a pooling along one axis.

    Padding is at most half the kernel and the last window starts inside the image or the border
    before it, so that every window holds at least one real pixel.
    """
    kernel = check_at_least(f"kernel size of {axis}", kernel, 1)
    stride = check_at_least(f"stride of {axis}", stride, 1)
    pad = check_at_least(f"padding of {axis}", pad, 0)
    if 2 * pad > kernel:
        raise ValueError(
            f"padding of {axis} must be at most half the kernel size {kernel}, got {pad}"
        )
    floor = (size + 2 * pad - kernel) // stride + 1
    ceil = -(-(size + 2 * pad - kernel) // stride) + 1
    if (ceil - 1) * stride >= size + pad:
        ceil -= 1
    if out < 1 or out not in (floor, ceil):
        raise ValueError(
            f"{axis}: {out} outputs do not fit an image of {size} with kernel {kernel}, "
            f"stride {stride}, padding {pad}; expected {floor} or, with ceil_mode, {ceil}"
        )
