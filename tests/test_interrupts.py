"""Signals wait for a protected block, and are not lost."""

import signal
import threading

import pytest

from minicnn.interrupts import signals_deferred
from minicnn.layers.mode import in_inference, inference


def test_signals_deferred_ctrl_c_inside_takes_effect_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("rest of the block")
    assert done == ["rest of the block"]


def test_signals_deferred_afterwards_restores_the_handlers():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), signals_deferred():
        assert signal.getsignal(signal.SIGINT) != before[0]
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_signals_deferred_sigterm_with_a_handler_waits_for_the_end():
    def handler(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, handler)
    done = []
    try:
        with pytest.raises(SystemExit), signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("rest of the block")
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["rest of the block"]


def test_signals_deferred_nested_waits_for_the_outer_end():
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        with signals_deferred():
            signal.raise_signal(signal.SIGINT)
        done.append("rest of the outer block")
    assert done == ["rest of the outer block"]


def test_signals_deferred_in_another_thread_changes_nothing():
    seen = []

    def work():
        with signals_deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


class Alarm(Exception):
    pass


def ring(number, frame):
    raise Alarm


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
@pytest.mark.usefixtures("no_collector_callbacks")
def test_inference_interrupted_at_any_moment_is_left_again():
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for i in range(2000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + i % 50 * 1e-6)
                while True:
                    with inference():
                        pass
            except Alarm:
                pass
            assert not in_inference()
    finally:
        signal.signal(signal.SIGALRM, before)
