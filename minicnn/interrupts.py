"""Ctrl-C at the right moment: a short piece of work that signals wait for."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Inside: SIGINT and SIGTERM wait until the end of the block, and then take effect.

    For work that must happen as a whole or not at all, like moving the parameters together
    with the optimizer's state. Keep it short, since nobody can stop it. Handlers belong to the
    main thread, so other threads need no protection and get none. A signal without a handler
    in Python (the default of SIGTERM) ends the process as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    interrupt, terminate = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        if callable(interrupt):
            signal.signal(signal.SIGINT, remember)
        if callable(terminate):
            signal.signal(signal.SIGTERM, remember)
        yield
    finally:
        # Nested, because a signal may arrive between the two and its handler may raise.
        try:
            if callable(terminate):
                signal.signal(signal.SIGTERM, terminate)
        finally:
            if callable(interrupt):
                signal.signal(signal.SIGINT, interrupt)
        for number in waiting:
            signal.raise_signal(number)
