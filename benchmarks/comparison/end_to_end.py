"""LeNet on MNIST until 99.0 % of the test images are classified correctly: how many seconds.

Both libraries start from the same weights, see the same batches in the same order at the same
learning rates (`recipe.py`), gather them from arrays in memory, each in its fastest way, and look
at the test images after every epoch. Reading the files and compiling are not counted; testing is.
"""

import gzip
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .modes import MODES, OURS, Mode, peers
from .recipe import Recipe
from .steps import Settings, measure
from .targets import END_TO_END, best, ratios
from .tasks import Task
from .turns import Process, settle

GOAL = 0.99
HEADS = ["to 99.0 %", "variant", "seed", "seconds", "epochs", "test accuracy"]


class Result(NamedTuple):
    """One run."""

    mode: str
    variant: str
    seed: int
    seconds: float
    accuracies: list[float]

    @property
    def reached(self) -> bool:
        return self.accuracies[-1] >= GOAL

    def cells(self) -> list[str]:
        return [
            self.mode, self.variant, str(self.seed), f"{self.seconds:.2f}",
            str(len(self.accuracies)), f"{self.accuracies[-1]:.2%}",
        ]  # fmt: skip


def read_images(folder: Path, split: str) -> tuple[Any, Any]:
    """(N, 1, 28, 28) float32 in 0…1 and (N,) int64, from the gzipped IDX files of MNIST."""
    arrays = []
    for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
        packed = (folder / f"{split}-{kind}-ubyte.gz").read_bytes()
        arrays.append(np.frombuffer(gzip.decompress(packed), np.uint8, offset=header))
    images = arrays[0].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
    return images, arrays[1].astype(np.int64)


def epoch(
    learner: Any, recipe: Recipe, x: Any, y: Any, order: Any, number: int, epochs: int
) -> None:
    """One pass over the training images."""
    steps = len(order) // recipe.batch
    chosen = learner.indices(order.reshape(steps, recipe.batch))
    for step in range(steps):
        rate = recipe.learning_rate(number * steps + step, epochs * steps)
        learner.step(*learner.batch(x, y, chosen[step]), rate)


def learn(
    side: ModuleType, folder: str, seed: int, variant: str, epochs: int, samples: int
) -> dict[str, Any]:
    """Seconds until the goal, or of all epochs; and the test accuracy after each."""
    recipe = Recipe(seed, epochs)
    images, labels = (array[:samples] for array in read_images(Path(folder), "train"))
    learner = side.Learner(recipe, variant)
    learner.begin()
    tests = learner.data(*read_images(Path(folder), "t10k"))
    x, y = learner.data(images, labels)
    first = learner.indices(np.arange(recipe.batch))
    for _ in range(20):  # warms threads and compiles; a rate of zero changes no weight
        learner.step(*learner.batch(x, y, first), 0.0)
    learner.begin()
    accuracies = []
    start = time.perf_counter()
    for number in range(epochs):
        epoch(learner, recipe, x, y, recipe.order(number, len(labels)), number, epochs)
        accuracies.append(learner.correct(*tests) / len(tests[1]))
        if accuracies[-1] >= GOAL:
            break
    return {"seconds": time.perf_counter() - start, "accuracies": accuracies}


def fastest_torch(threads: int, settings: Settings) -> tuple[Mode, str] | None:
    """PyTorch's fastest mode and variant on a step of the recipe; None where there is none."""
    torch_only = settings.modes or [mode.name for mode in peers([], True)]
    names = [name for name in torch_only if MODES[name].package == "torch"]
    if not names:
        return None
    (row,) = measure([Task("lenet", Recipe(0).batch)], threads, settings._replace(modes=names))
    strongest = best(ratios(row.times))
    return strongest and (MODES[strongest[0]], row.variants[strongest[0]])


def race(
    folder: Path, threads: int, settings: Settings, seeds: int, epochs: int, samples: int
) -> list[Result]:
    """Every seed by minicnn and by PyTorch's fastest mode, by turns."""
    runners = [(OURS, OURS.variants[0])]
    torch = fastest_torch(threads, settings)
    runners += [torch] if torch else []
    results = []
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(mode, threads)) for mode, _ in runners]
        for seed in range(seeds):
            for (mode, variant), process in zip(runners, processes, strict=True):
                print(f"MNIST, seed {seed}, {mode.name} …", file=sys.stderr, flush=True)
                settle(processes)
                answer = process.ask(
                    "learn", folder=str(folder.resolve()), seed=seed, variant=variant,
                    epochs=epochs, samples=samples,
                )  # fmt: skip
                results.append(Result(mode.name, variant, seed, **answer))
    return results


def summary(results: list[Result]) -> str:
    """The ratio of the medians of the seconds, against the target; or that somebody missed."""
    if not all(result.reached for result in results):
        return f"not every run reached {GOAL:.1%}, so there is no ratio"
    ours = [result.seconds for result in results if result.mode == OURS.name]
    theirs = [result.seconds for result in results if result.mode != OURS.name]
    if not theirs:
        return "there is no PyTorch to compare with"
    found = statistics.median(theirs) / statistics.median(ours)
    mark = "ok" if found >= END_TO_END else "short"
    return f"PyTorch / minicnn, medians: {found:.2f}×, to reach {END_TO_END:g}×: {mark}"
