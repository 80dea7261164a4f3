"""Makes the kernels use their threads however small the arrays of a test are."""

import pytest

from minicnn.kernels import checks


@pytest.fixture(autouse=True)
def threads_for_little_work(monkeypatch):
    """Without this a kernel runs small work on one thread, and nothing would be compared."""
    monkeypatch.setattr(checks, "SERIAL_WORK", 0)
