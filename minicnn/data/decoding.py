"""Many pictures from files: threads that decode ahead, in the order of the files."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..threads import get_num_threads
from .errors import DataError
from .pictures import decode_picture, quiet_pillow

AHEAD = 64  # pictures that are decoded before they are asked for, for each thread

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int = 0
) -> Iterator[Result]:
    """`map(function, items)` with some threads that work up to `ahead` items ahead.

    0: AHEAD for each thread. An item is done by one call, whichever thread makes it.
    """
    limit = ahead or AHEAD * threads
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class DecodingTime:
    """Adds up, over all threads, the processor time that decoding takes.

    Attributes
    ----------
    seconds : float
    pictures : int
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pictures = 0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one picture."""
        with self._lock:
            self.seconds += seconds
            self.pictures += 1

    def rate(self, threads: int) -> float:
        """Pictures a second that so many processors decode when they do nothing else."""
        return threads * self.pictures / max(self.seconds, 1e-9)


def decode_in_order(
    paths: Iterable[str],
    preprocessing: Mapping[str, Any],
    invert: bool = False,
    spent: DecodingTime | None = None,
) -> Iterator[tuple[str, npt.NDArray[np.uint8] | DataError]]:
    """Each path with its decoded picture, or with what is wrong with it.

    Decoding runs ahead in threads; the pictures come in the order of the paths. The time that
    it takes is added to `spent`.
    """

    def decode(path: str) -> tuple[str, npt.NDArray[np.uint8] | DataError]:
        begin = time.thread_time()
        try:
            return path, decode_picture(path, preprocessing, invert)
        except DataError as error:
            return path, error
        finally:
            if spent is not None:
                spent.add(time.thread_time() - begin)

    with quiet_pillow():
        yield from in_order(decode, paths, get_num_threads())
