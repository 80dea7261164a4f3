"""That the kernels really run on the threads they are given."""

import subprocess
import sys

import pytest

from minicnn.kernels import checks
from minicnn.kernels.build import has_openmp

PROGRAM = """
import os
import numpy as np
from minicnn.kernels.activations import relu_forward

before = len(os.listdir("/proc/self/task"))
x = np.ones({size}, np.float32)
relu_forward(x, np.empty_like(x), {threads})
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
@pytest.mark.parametrize(
    ("size", "threads", "started"), [(100_000, 1, 0), (100_000, 5, 4), (100, 5, 0)]
)
def test_kernel_starts_as_many_threads_as_asked_when_they_pay(size, threads, started):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(size=size, threads=threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == (started if has_openmp() else 0)


def test_check_threads_under_the_tests_fixture_gives_all_threads():
    assert checks.check_threads(3, 1) == 3
