"""Share of the machine's multiply-add peak that the engine's convolutions reach, on one core.

    python benchmarks/bench_kernels.py [--rounds 7]

The peak is probed beside every figure, with the instruction set in use. All times are those of
the process's own CPU, so that other programs disturb less. What stands before and behind the
convolution (reading the images, a global average, writing the gradient of the input) is part of
them. Winograd's method is counted in the multiply-adds of direct sums. "backward" is the gradient
of weight and input together; "weight" that of the weight alone, as a first layer needs it.
"""

import argparse
import statistics
import time

import numpy as np

import minicnn as mc
from minicnn.engine import fma_probe, isa

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


def shares(shape, rounds: int) -> list[float]:
    """Median share of the peak: forward, gradient of the weight, both gradients."""
    inputs, outputs, kernel, stride, padding, height, width, samples = shape
    mc.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal((samples, inputs, height, width), np.float32)
    layer = mc.Conv2d(inputs, outputs, kernel, stride, padding)
    model = mc.Sequential(layer, mc.GlobalAvgPool2d()).build(x.shape[1:])
    layers = [*model.units().values()]
    works = []
    for input_gradient in (False, True):
        passes = model.pass_cache.find(
            layers, model.flat_parameters, x, input_gradient=input_gradient
        )
        dy = np.random.default_rng(1).standard_normal(passes.forward(x).shape, np.float32)
        works.append((passes, dy))
    operations = 2 * samples * layer.multiply_adds(x.shape[1:])
    tasks = [
        (lambda: works[0][0].forward(x), operations),
        (lambda: works[0][0].backward(works[0][1]), operations),
        (lambda: works[1][0].backward(works[1][1]), 2 * operations),
    ]
    found = []
    for task, count in tasks:
        calls = max(1, int(2e9 / count))
        rates = []
        for _ in range(rounds):
            rate = count * calls / seconds(lambda t=task, n=calls: [t() for _ in range(n)])
            rates.append(rate / peak())
        found.append(statistics.median(rates))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    probe = statistics.median(peak() for _ in range(9)) / 1e9
    print(f"{isa()}, multiply-add probe {probe:.0f} GFLOP/s on one core")
    print(f"{'convolution':34}{'method':10}{'forward':>9}{'weight':>9}{'backward':>10}")
    for shape in SHAPES:
        inputs, outputs, kernel, stride, padding, height, width, _ = shape
        name = f"{inputs}→{outputs} {kernel}×{kernel}/{stride} pad {padding}, {height}×{width}"
        for winograd in (False, True) if (kernel, stride) == (3, 1) and inputs >= 16 else (False,):
            mc.set_winograd(winograd)
            forward, weight, backward = shares(shape, rounds)
            kind = "Winograd" if winograd else "direct"
            print(f"{name:34}{kind:10}{forward:9.0%}{weight:9.0%}{backward:10.0%}", flush=True)
        mc.set_winograd(True)


if __name__ == "__main__":
    main()
