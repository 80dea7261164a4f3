"""Who takes part: minicnn and each peer's ways of running.

A mode may have several variants (two memory layouts, compiled or not). Its process builds them
all, times each for a moment, and goes on with the fastest, so every peer shows its best.
"""

import importlib.util
from typing import NamedTuple


class Mode(NamedTuple):
    """One column of the tables."""

    name: str
    package: str  # that must be installed
    module: str  # of this folder, that drives it
    variants: tuple[str, ...]
    fp32: bool = True
    training: bool = True


OURS = Mode("minicnn", "minicnn", "minicnn_side", ("",))
MODES = {
    mode.name: mode
    for mode in [
        OURS,
        Mode("torch", "torch", "torch_side", ("NCHW",)),
        Mode("torch-cl", "torch", "torch_side", ("NHWC",)),
        Mode("torch-compile", "torch", "torch_side", ("NCHW compiled", "NHWC compiled")),
        Mode("torch-bf16", "torch", "torch_side", ("NHWC bf16", "NHWC bf16 compiled"), fp32=False),
        Mode("jax", "jax", "jax_side", ("NCHW", "NHWC")),
        Mode("onnxruntime", "onnxruntime", "onnx_side", ("run", "bound"), training=False),
    ]
}
NEEDS = {"onnxruntime": ("onnxruntime", "onnx")}  # packages beyond the mode's own

LEGEND = """\
torch          eager, NCHW, fused SGD
torch-cl       eager, channels-last, fused SGD
torch-compile  torch.compile, the faster of NCHW and channels-last, fused SGD
torch-bf16     bfloat16 autocast, channels-last, the faster of eager and compiled, fused SGD
jax            jit of loss, gradient and update with donated buffers, the faster of NCHW and NHWC
onnxruntime    all optimisations, spinning threads, the faster of run() and bound buffers
torch modes asked for answers run in eval mode under inference_mode."""


def missing_packages(mode: Mode) -> list[str]:
    """The packages that `mode` needs and that are not installed."""
    needed = NEEDS.get(mode.name, (mode.package,))
    return [name for name in needed if importlib.util.find_spec(name) is None]


def peers(names: list[str], training: bool) -> list[Mode]:
    """The modes beside minicnn, among `names` if there are any, that can do the work."""
    return [
        mode
        for mode in MODES.values()
        if mode is not OURS
        and (mode.training or not training)
        and (not names or mode.name in names)
    ]


def environment(threads: int) -> dict[str, str]:
    """Variables for a contender's process.

    Threads that wait are left to each library: they spin for at most some 15 ms, so that a region
    behind another starts at once, and then sleep; `turns.py` waits for that before the next turn.
    A policy that spins for ever would eat the CPUs of whose turn it is, so it is not inherited.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no helper processes beside the measurement
    }


NOT_INHERITED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME",
                 "OMP_PROC_BIND", "OMP_PLACES")  # fmt: skip
