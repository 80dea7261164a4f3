"""Plain kernels: one operation a module, float32 arrays in NCHW order, typed memoryviews.

They are the specification: the mathematics with its shapes, passes numbered, forward above
backward. A kernel reads and writes the arrays it is given and knows nothing of layers; it
allocates nothing that a caller sees, and fills every element of its outputs.

Each call gives the same bits for any `num_threads`: threads share out whole output elements,
never the terms of one sum.
"""

import os

# GNU's OpenMP lets waiting threads spin for milliseconds before they sleep. That helps nothing
# here, and where another program wants the same CPUs it costs most of them: a step of cnn-s on
# 8x8 digits took 219 ms instead of 8 ms on two busy CPUs. The library reads the variable once,
# when the first kernel loads it; it is set for that moment only, so that child processes and
# libraries that load later do not see it. Whoever has set a policy keeps it.
_undecided = not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
if _undecided:
    os.environ["GOMP_SPINCOUNT"] = "2000"
try:
    from . import linear as linear
except ImportError as error:
    raise ImportError(
        f"the compiled kernels are not in {os.path.dirname(__file__)} ({error}); if that is a "
        "checkout, build it in place with 'pip install -e .', or start Python in another folder "
        "to use an installed minicnn"
    ) from error
finally:
    if _undecided:
        del os.environ["GOMP_SPINCOUNT"]
