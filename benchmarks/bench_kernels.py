"""Share of the machine's multiply-add peak that the engine's convolutions reach, on one core.

    python benchmarks/bench_kernels.py [--seconds 1.0]

Each convolution stands alone between the reading of images and a global average; the engine's own
clock tells what its kernels took in every pass, for so many seconds. "forward", "dweight" and "dx"
are those kernels; "all" is what the convolution takes both ways with everything it needs besides:
weights packed, partial gradients summed up. A convolution with fewer channels than fill a vector is
taken as the first of its network: dweight without dx.

Two shares of each: of the median pass, and of the fastest, as other programs on a shared
machine slow a kernel and its memory more than the probe. The probe takes turns with the passes, and
is taken likewise: its median and its fastest. Winograd's method is counted in the multiply-adds of
direct sums.
"""

import argparse
import time
from collections import defaultdict

import numpy as np

import minicnn as mc
from minicnn.engine import LANES, fma_probe, isa

# channels in, channels out, kernel, stride, padding, height, width, samples
SHAPES = [
    (32, 32, 3, 1, 1, 32, 32, 4), (64, 64, 3, 1, 1, 16, 16, 4), (128, 128, 3, 1, 1, 8, 8, 4),
    (32, 64, 3, 1, 0, 26, 26, 4), (16, 32, 3, 2, 0, 55, 55, 4), (32, 64, 3, 2, 0, 27, 27, 4),
    (64, 128, 3, 2, 0, 13, 13, 4), (3, 32, 3, 1, 1, 32, 32, 16), (1, 6, 5, 1, 2, 28, 28, 16),
    (6, 16, 5, 1, 0, 14, 14, 16),
]  # fmt: skip

# What a call of this name is part of.
KERNELS = {
    "conv_forward": "forward", "conv_backward_weight": "dweight",
    "conv_backward_weight_of_all": "dweight", "conv_backward_input": "dx",
    "conv_backward": "dweight",  # with samples in the lanes: and dx
}  # fmt: skip
BESIDES = ("pack_forward", "pack_backward", "sum_partials")
COLUMNS = ("forward", "dweight", "dx", "all")


def seconds_of_probe() -> float:
    """For one operation."""
    fma_probe(10_000)  # the first call after others takes 30 µs longer
    start = time.perf_counter()
    operations = fma_probe(200_000)
    return (time.perf_counter() - start) / operations


def convolution_alone(shape):
    """Passes of a net of one convolution and a global average, their input, and dy."""
    inputs, outputs, kernel, stride, padding, height, width, samples = shape
    layers = mc.Conv2d(inputs, outputs, kernel, stride, padding), mc.GlobalAvgPool2d()
    model = mc.Sequential(*layers).build((inputs, height, width))
    generator = np.random.default_rng(0)
    x = generator.standard_normal((samples, inputs, height, width), np.float32)
    units = [*model.units().values()]
    with_dx = inputs >= LANES
    passes = model.pass_cache.find(units, model.flat_parameters, x, input_gradient=with_dx)
    return passes, x, generator.standard_normal(passes.forward(x).shape, np.float32)


def times_of(plan) -> dict[str, float]:
    """Seconds of each column in the last passes."""
    spent: dict[str, float] = defaultdict(float)
    calls = [
        call
        for of in ("forward", "backward")
        for _, calls in plan.stage_times(of)
        for call in calls
    ]
    for name, microseconds in calls:
        kind = name.partition("[")[0]
        for family in ("channel_", "winograd_", "strided_"):
            kind = kind.removeprefix(family)
        if kind in KERNELS:
            spent[KERNELS[kind]] += microseconds * 1e-6
        if kind in KERNELS or kind in BESIDES:
            spent["all"] += microseconds * 1e-6
    return spent


def shares(shape, seconds: float) -> dict[str, tuple[float, float]]:
    """Of the peak, in each column: of the median pass, and of the fastest."""
    inputs, outputs, kernel, stride, padding, height, width, samples = shape
    layer = mc.Conv2d(inputs, outputs, kernel, stride, padding)
    operations = 2 * samples * layer.multiply_adds((inputs, height, width))
    passes, x, dy = convolution_alone(shape)
    passes.plan.timed = True
    probe, spent = [], defaultdict(list)
    end = time.perf_counter() + seconds
    while len(probe) < 5 or time.perf_counter() < end:
        probe.append(seconds_of_probe())
        for _ in range(5):
            passes.forward(x)
            passes.backward(dy)
            for column, taken in times_of(passes.plan).items():
                spent[column].append(taken)
    kernels = len(spent) - 1
    return {
        column: tuple(
            (kernels if column == "all" else 1) * operations * of(probe) / of(taken)
            for of in (np.median, np.min)
        )
        for column, taken in spent.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    seconds = parser.parse_args().seconds
    mc.set_num_threads(1)
    probe = min(seconds_of_probe() for _ in range(200))
    print(f"{isa()}, multiply-add probe {1e-9 / probe:.0f} GFLOP/s on one core")
    print("shares of the median pass and of the fastest")
    print(f"{'convolution':34}{'method':10}" + "".join(f"{title:>12}" for title in COLUMNS))
    for shape in SHAPES:
        inputs, outputs, kernel, stride, padding, height, width, _ = shape
        name = f"{inputs}→{outputs} {kernel}×{kernel}/{stride} pad {padding}, {height}×{width}"
        for winograd in (False, True) if kernel == 3 and inputs >= 16 else (False,):
            mc.set_winograd(winograd)
            found = shares(shape, seconds)
            shown = (f"{found[c][0]:.0%}, {found[c][1]:.0%}" if c in found else "" for c in COLUMNS)
            kind = "Winograd" if winograd else "direct"
            print(f"{name:34}{kind:10}" + "".join(f"{s:>12}" for s in shown), flush=True)
        mc.set_winograd(True)


if __name__ == "__main__":
    main()
