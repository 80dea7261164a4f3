"""Photos from files to answers, as `minicnn predict RUN FOLDER` does it, once everything is warm.

python benchmarks/predict_photos.py PHOTOS [--size 128] [--count 600] [--rounds 3] [--arch NAME ...]

The weights are random; the time does not depend on them. Beside it: decoding alone, and the model
alone, from the processor time that each takes. On a machine that does other things at the same
time these two tell what it could do; together they bound the rate: 1 / (1 / a + 1 / b).
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import models
from minicnn.data.decoding import DecodingTime, decode_in_order
from minicnn.data.folders import list_classes
from minicnn.threads import get_num_threads

BATCH = 64  # as predict's


def predict(model: Any, files: list[str], preprocessing: dict[str, Any]) -> tuple[float, ...]:
    """Seconds in all, processor seconds in all, and those of the decoding."""
    spent = DecodingTime()
    wall, used = time.perf_counter(), time.process_time()
    pictures: list[Any] = []
    answered = 0
    for _, picture in decode_in_order(files, preprocessing, spent=spent):
        pictures.append(picture)
        if len(pictures) == BATCH:
            answered += len(model.predict_proba(np.stack(pictures)))
            pictures = []
    if pictures:
        answered += len(model.predict_proba(np.stack(pictures)))
    assert answered == len(files)
    return time.perf_counter() - wall, time.process_time() - used, spent.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arch", nargs="+", default=["cnn-s", "cnn-m", "seed"])
    arguments = parser.parse_args()
    files = list_classes(str(arguments.photos)).files
    files = files[:: max(len(files) // arguments.count, 1)][: arguments.count]
    threads = get_num_threads()
    print(f"{len(files):,} photos, {threads} threads, {os.cpu_count()} processors")
    print(f"{'arch':8} {'size':>5}  photos/s   decoding alone   model alone   both, at best")
    for arch in arguments.arch:
        size = 224 if arch == "seed" else arguments.size
        model = models.make(arch, (3, size, size), 3, seed=0)
        preprocessing = {"channels": 3, "size": [size, size], "divisor": 255, "background": None}
        rounds = [predict(model, files, preprocessing) for _ in range(arguments.rounds + 1)][1:]
        wall, used, decoding = (statistics.median(column) for column in zip(*rounds, strict=True))
        rates = (len(files) * threads / seconds for seconds in (decoding, used - decoding, used))
        alone, forward, both = rates
        print(
            f"{arch:8} {size:5}  {len(files) / wall:8,.0f}   {alone:14,.0f}   {forward:11,.0f}"
            f"   {both:13,.0f}"
        )


if __name__ == "__main__":
    main()
