"""Which instruction set runs, and that asking for another one gets it or an error."""

import os
import subprocess
import sys

import pytest

from minicnn import engine
from minicnn.engine import plan

PROGRAM = """
import numpy as np
import minicnn as mc
from minicnn import engine
model = mc.Sequential(mc.Conv2d(2, 5, 3, padding=1), mc.ReLU(), mc.Linear(None, 4), seed=1)
x = np.random.default_rng(0).normal(size=(5, 2, 6, 6)).astype("f")
optimizer = mc.SGD(model.build((2, 6, 6)).parameters(), 0.1)
step = model.train_step(x, [0, 1, 2, 3, 0], mc.CrossEntropyLoss(), optimizer)
print(engine.isa(), engine.LANES, step)
"""


def run_with(isa):
    environment = dict(os.environ, MINICNN_ISA=isa, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(("isa", "lanes"), (("avx512", 16), ("avx2", 8), ("generic", 4)))
def test_forced_level_is_the_one_that_runs(isa, lanes):
    """The name comes from the compiler's own macros, within the object that holds the kernels;
    the number of lanes is what its kernels were compiled for."""
    if not plan.supported(isa):
        pytest.skip(f"this machine has no {isa}")
    done = run_with(isa)
    assert done.returncode == 0, done.stderr
    name, count, loss = done.stdout.split()
    assert (name, int(count)) == (isa, lanes)
    assert float(loss) == pytest.approx(float(run_with("generic").stdout.split()[2]), rel=1e-5)


@pytest.mark.parametrize("isa", ("sse9", "", "AVX2"))
def test_unknown_level_is_an_error_at_import(isa):
    done = run_with(isa)
    assert done.returncode != 0
    assert f"ImportError: MINICNN_ISA is {isa!r}; expected one of avx512" in done.stderr


def test_level_in_use_is_a_supported_one():
    assert plan.supported(engine.isa())
    wish = os.environ.get("MINICNN_ISA")
    assert wish in (None, engine.isa())
