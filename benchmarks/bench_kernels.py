"""Share of the machine's multiply-add peak that the engine's convolutions reach, on one core.

    python benchmarks/bench_kernels.py [--rounds 7]

The peak is probed beside every figure, with the instruction set in use. All times are those of
the process's own CPU, so that other programs disturb less. Winograd's method is counted in the
multiply-adds of direct sums. "backward" is the gradient of weight and input together; "weight" that
of the weight alone, as a first layer needs it. What stands before and behind the convolution
(reading the images, a global average, writing the gradient of the input) is part of these times;
"alone" are those less the time of the same net without the convolution.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import minicnn as mc
from minicnn.engine import LANES, fma_probe, isa

# channels in, channels out, kernel, stride, padding, height, width, samples
SHAPES = [
    (32, 32, 3, 1, 1, 32, 32, 16), (64, 64, 3, 1, 1, 16, 16, 16), (128, 128, 3, 1, 1, 8, 8, 16),
    (32, 64, 3, 1, 0, 26, 26, 16), (64, 128, 3, 2, 0, 13, 13, 16), (16, 32, 3, 2, 0, 55, 55, 16),
    (3, 32, 3, 1, 1, 32, 32, 16), (1, 6, 5, 1, 2, 28, 28, 16), (6, 16, 5, 1, 0, 14, 14, 16),
]  # fmt: skip


def seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def peak() -> float:
    """Operations a second of the probe."""
    start = time.process_time()
    operations = fma_probe(2_000_000)
    return operations / (time.process_time() - start)


class Case(NamedTuple):
    """A pass to time, what it takes besides the convolution if that is known, and operations."""

    whole: Callable[[], object]
    besides: Callable[[], object] | None
    operations: int


def both_passes(layers, x, input_gradient: bool):
    """Forward and backward pass of a net of these layers and a global average."""
    model = mc.Sequential(*layers, mc.GlobalAvgPool2d()).build(x.shape[1:])
    units = [*model.units().values()]
    passes = model.pass_cache.find(units, model.flat_parameters, x, input_gradient=input_gradient)
    dy = np.random.default_rng(1).standard_normal(passes.forward(x).shape, np.float32)
    return lambda: passes.forward(x), lambda: passes.backward(dy)


def cases(shape) -> list[Case]:
    """Forward pass, gradient of the weight, both gradients."""
    inputs, outputs, kernel, stride, padding, height, width, samples = shape
    x = np.random.default_rng(0).standard_normal((samples, inputs, height, width), np.float32)
    layer = mc.Conv2d(inputs, outputs, kernel, stride, padding)
    operations = 2 * samples * layer.multiply_adds(x.shape[1:])
    forward, weight = both_passes([layer], x, input_gradient=False)
    _, backward = both_passes([layer], x, input_gradient=True)
    besides = both_passes([], x, input_gradient=True) if inputs >= LANES else (None, None)
    return [
        Case(forward, besides[0], operations),
        Case(weight, None, operations),
        Case(backward, besides[1], 2 * operations),
    ]


def share(case: Case, rounds: int) -> tuple[float, float]:
    """Median shares of the peak: of the pass, and of the convolution alone (0: not known)."""
    calls = max(1, int(2e9 / case.operations))
    whole, alone = [], []
    for _ in range(rounds):
        time_of_all = seconds(lambda: [case.whole() for _ in range(calls)])
        unit = case.operations * calls / peak()
        whole.append(unit / time_of_all)
        if case.besides:
            rest = seconds(lambda: [case.besides() for _ in range(calls)])
            alone.append(unit / (time_of_all - rest))
    return statistics.median(whole), statistics.median(alone or [0.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    mc.set_num_threads(1)
    probe = statistics.median(peak() for _ in range(9)) / 1e9
    print(f"{isa()}, multiply-add probe {probe:.0f} GFLOP/s on one core")
    titles = ("forward", "alone", "weight", "backward", "alone")
    print(f"{'convolution':34}{'method':10}" + "".join(f"{title:>10}" for title in titles))
    for shape in SHAPES:
        inputs, outputs, kernel, stride, padding, height, width, _ = shape
        name = f"{inputs}→{outputs} {kernel}×{kernel}/{stride} pad {padding}, {height}×{width}"
        for winograd in (False, True) if (kernel, stride) == (3, 1) and inputs >= 16 else (False,):
            mc.set_winograd(winograd)
            forward, weight, backward = (share(case, rounds) for case in cases(shape))
            kind = "Winograd" if winograd else "direct"
            shown = (*forward, weight[0], *backward)
            print(f"{name:34}{kind:10}" + "".join(f"{s:10.0%}" if s else f"{'':10}" for s in shown),
                  flush=True)  # fmt: skip
        mc.set_winograd(True)


if __name__ == "__main__":
    main()
