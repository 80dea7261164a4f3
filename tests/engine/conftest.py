"""Makes the engine use its threads however small a net is, and puts every switch back."""

import pytest

import minicnn as mc
from minicnn import threads
from minicnn.lowering import passes


@pytest.fixture(autouse=True)
def engine_on(monkeypatch):
    monkeypatch.setattr(passes, "SMALL", 0)
    before = threads.get_num_threads()
    mc.set_engine(True)
    yield
    mc.set_engine(True)
    threads.set_num_threads(before)
