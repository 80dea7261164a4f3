"""Where the time of a training step goes: microseconds of stages, of their calls, and beside them.

    python benchmarks/profile_step.py [lenet-64 mlp-64 …] [--threads 1 2] [--steps 200]

A stage's figure is the median, over the steps, of what the leading thread spent in it, waiting for
the others included; behind it, of a stage with several calls, what it spent in each. A call is
written with the number of its operation in the plan. The last lines tell what a step took as a
whole, and how much of that is outside of all stages.
"""

import argparse
import statistics
import time

import numpy as np
from nets import NETS, ROWS, class_count, minicnn_model

import minicnn as mc


def profile(net: str, batch: int, threads: int, steps: int) -> None:
    mc.set_num_threads(threads)
    shape = NETS[net][0]
    model, loss = minicnn_model(net).build(shape), mc.CrossEntropyLoss()
    optimizer = mc.SGD(model.parameters(), lr=0.01, momentum=0.9)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, *shape), dtype=np.float32)
    y = generator.integers(0, class_count(net), batch)
    model.train_step(x, y, loss, optimizer)
    plan = model.pass_cache.steps[x.shape].plan
    plan.timed = True
    whole, spent = [], []
    for _ in range(steps):
        start = time.perf_counter()
        model.train_step(x, y, loss, optimizer)
        whole.append((time.perf_counter() - start) * 1e6)
        spent.append(plan.stage_times())
    print(f"\n{net} {batch}, {threads} thread{'s' * (threads > 1)}")
    for i, (_, calls) in enumerate(spent[0]):
        median = statistics.median(stages[i][0] for stages in spent)
        if median > 0:
            print(f"{median:10.1f}" + (f"  {calls[0][0]}" if len(calls) == 1 else ""))
        for j, (call, _) in enumerate(calls if len(calls) > 1 else ()):
            print(f"{statistics.median(stages[i][1][j][1] for stages in spent):20.1f}  {call}")
    between = (
        total - sum(t for t, _ in stages) for total, stages in zip(whole, spent, strict=True)
    )
    print(f"{statistics.median(between):10.1f}  outside of all stages")
    print(f"{statistics.median(whole):10.1f}  whole step, at least {min(whole):.1f}")


def main() -> None:
    names = [f"{row.net}-{row.batch}" for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    if unknown := set(args.rows) - set(names):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(names)}")
    for name, row in zip(names, ROWS, strict=True):
        if name in (args.rows or names[:5]):
            for threads in args.threads:
                profile(row.net, row.batch, threads, args.steps)


if __name__ == "__main__":
    main()
