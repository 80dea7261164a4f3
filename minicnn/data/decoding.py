"""Many pictures from files: threads that decode ahead, in the order of the files."""

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
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """`map(function, items)` with some threads that work ahead, but not far."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decode_in_order(
    paths: Iterable[str], preprocessing: Mapping[str, Any], invert: bool = False
) -> Iterator[tuple[str, npt.NDArray[np.uint8] | DataError]]:
    """Each path with its decoded picture, or with what is wrong with it.

    Decoding runs ahead in threads; the pictures come in the order of the paths.
    """

    def decode(path: str) -> tuple[str, npt.NDArray[np.uint8] | DataError]:
        try:
            return path, decode_picture(path, preprocessing, invert)
        except DataError as error:
            return path, error

    with quiet_pillow():
        yield from in_order(decode, paths, get_num_threads())
