"""Fixtures for every test: where the data lies, and a thread count that is put back."""

import gc
import os
import signal
from pathlib import Path

import pytest

# Read when the OpenMP library is loaded, so before any kernel is. Three threads on two cores
# otherwise spin while they wait for each other: the kernel tests take five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import minicnn

ROOT = Path(__file__).parent.parent

# Programs that tests start import the minicnn that is tested here, not the sources in the
# current folder, which need not be built; and what the tests share.
PATHS = (Path(minicnn.__file__).parents[1], ROOT / "tests")
os.environ["PYTHONPATH"] = os.pathsep.join(map(str, PATHS))
os.environ["PYTHONSAFEPATH"] = "1"


# A shell starts a job in the background with Ctrl-C ignored, and so would be the signals that
# tests send to this process and to programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the data sets: $MINICNN_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("MINICNN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set MINICNN_DATA to the folder that holds it")
    return folder


@pytest.fixture
def no_collector_callbacks():
    """For signals at random moments: what they raise in a callback of the garbage collector, of
    which hypothesis has one, is printed and lost."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks


@pytest.fixture
def keep_threads():
    """Puts the number of threads back after a test that sets it."""
    from minicnn import threads

    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)
