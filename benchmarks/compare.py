"""Milliseconds of one training step: minicnn beside PyTorch, paired in one run.

    pip install ".[bench]"
    python benchmarks/compare.py [--rows lenet-64 mlp-64 …] [--threads 1 2] [--rounds 7]

A step is forward, loss, backward and SGD with momentum, on random data. The contenders take
turns (A B A B …), so that a machine whose speed drifts slows both; the figures are medians over
the rounds. PyTorch runs eagerly, with its fused optimizer, on tensors made beforehand.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from nets import NETS, ROWS, Row, class_count, minicnn_model, torch_model

Step = Callable[[], Any]
LR, MOMENTUM = 0.01, 0.9


def batch_for(row: Row) -> tuple[Any, Any]:
    """Random images and labels (never zeros: they are faster than real data)."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((row.batch, *NETS[row.net][0]), dtype=np.float32)
    return images, generator.integers(0, class_count(row.net), row.batch)


def minicnn_step(row: Row, threads: int) -> Step:
    import minicnn as mc

    mc.set_num_threads(threads)
    model, loss = minicnn_model(row.net), mc.CrossEntropyLoss()
    optimizer = mc.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    x, y = batch_for(row)
    return lambda: model.train_step(x, y, loss, optimizer)


def torch_step(row: Row, threads: int) -> Step:
    import torch

    torch.set_num_threads(threads)
    model, loss = torch_model(row.net), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    x, y = (torch.from_numpy(a) for a in batch_for(row))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(model(x), y).backward()
        optimizer.step()

    return step


def milliseconds(step: Step, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls * 1e3


def paired_medians(steps: list[Step], rounds: int) -> list[float]:
    """Median milliseconds of each step; every round times all of them, for about 50 ms each."""
    calls = [max(1, int(50 / max(milliseconds(step, 2), 1e-3))) for step in steps]
    times = [[milliseconds(*pair) for pair in zip(steps, calls, strict=True)]
             for _ in range(rounds)]  # fmt: skip
    return [statistics.median(column) for column in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [f"{row.net}-{row.batch}" for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    import torch

    import minicnn
    from minicnn.engine import engine_enabled, isa

    engine = isa() if engine_enabled() else "engine off"
    print(f"{platform.processor() or platform.machine()}, {platform.system()}, "
          f"Python {platform.python_version()}, minicnn {minicnn.__version__} ({engine}), "
          f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")  # fmt: skip
    print(f"{'row':20}{'threads':>8}{'minicnn ms':>12}{'torch ms':>12}{'minicnn/torch':>15}")
    for name, row in zip(names, ROWS, strict=True):
        for threads in args.threads if name in args.rows else []:
            steps = [minicnn_step(row, threads), torch_step(row, threads)]
            ours, theirs = paired_medians(steps, args.rounds)
            print(f"{name:20}{threads:8}{ours:12.3f}{theirs:12.3f}{ours / theirs:15.2f}")


if __name__ == "__main__":
    main()
