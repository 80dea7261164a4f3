"""Threads that decode ahead: in order, not far, and with their time counted."""

import threading

import pytest
from data.photos import make_photos

from minicnn.data import decoding
from minicnn.data.decoding import DecodingTime, decode_in_order, in_order
from minicnn.data.errors import DataError

SMALL = {"channels": 3, "size": [8, 8], "divisor": 255, "background": None}


def test_results_come_in_order_whoever_is_ready_first():
    second_done = threading.Event()

    def work(k):
        if k == 0:
            assert second_done.wait(10)
        if k == 1:
            second_done.set()
        return k

    assert list(in_order(work, range(50), 2)) == list(range(50))


def test_no_more_is_begun_than_a_bounded_number_ahead(monkeypatch):
    monkeypatch.setattr(decoding, "AHEAD", 3)
    taken = []
    results = in_order(lambda k: k, (taken.append(k) or k for k in range(1000)), 2)
    assert next(results) == 0
    assert len(taken) <= 3 * 2 + 1
    results.close()


def test_error_of_the_function_reaches_the_caller():
    def fail(k):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        list(in_order(fail, range(3), 2))


def test_decoding_counts_every_picture_and_its_time(tmp_path):
    root = make_photos(tmp_path, 4)
    paths = [str(path) for path in sorted(root.glob("*/*"))] + ["none.png"]
    spent = DecodingTime()
    found = list(decode_in_order(paths, SMALL, spent=spent))
    assert [path for path, _ in found] == paths and isinstance(found[-1][1], DataError)
    assert spent.pictures == 13 and spent.seconds > 0
    assert spent.rate(2) == pytest.approx(2 * 13 / spent.seconds)
