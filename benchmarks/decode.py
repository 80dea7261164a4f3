"""Photos from files to pixels of one size: minicnn's readers and the usual loop with Pillow.

python benchmarks/decode.py PHOTOS [--size 128] [--count 1000] [--rounds 3]

The peer is what a loader does for each photo without worker processes: open, convert("RGB"),
resize (bilinear with antialias), to an array. Times are medians over rounds in which the readers
take turns; processor time is for all threads.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from minicnn.data.decoding import decode_in_order
from minicnn.data.folders import list_classes
from minicnn.threads import get_num_threads, set_num_threads


def peer(files: Sequence[str], size: int) -> int:
    count = 0
    for path in files:
        with open(path, "rb") as file, Image.open(file) as image:
            picture = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        count += np.asarray(picture).shape[0] == size
    return count


def ours(files: Sequence[str], size: int) -> int:
    preprocessing: dict[str, Any] = {
        "channels": 3, "size": [size, size], "divisor": 255, "background": None,
    }  # fmt: skip
    decoded = decode_in_order(files, preprocessing)
    return sum(isinstance(picture, np.ndarray) for _, picture in decoded)


def with_threads(threads: int) -> Callable[[Sequence[str], int], int]:
    def read(files: Sequence[str], size: int) -> int:
        set_num_threads(threads)
        return ours(files, size)

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files = list_classes(arguments.photos).files
    files = files[:: max(len(files) // arguments.count, 1)][: arguments.count]
    readers = {"Pillow, one thread": peer}
    for threads in dict.fromkeys((1, get_num_threads())):
        readers[f"minicnn, {threads} thread{'s' * (threads > 1)}"] = with_threads(threads)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for _ in range(arguments.rounds + 1):
        for name, read in readers.items():
            wall, used = time.perf_counter(), time.process_time()
            if read(files, arguments.size) != len(files):
                raise SystemExit(f"{name}: not all photos can be read")
            times[name].append((time.perf_counter() - wall, time.process_time() - used))
    print(
        f"{len(files):,} photos to {arguments.size}x{arguments.size}, {os.cpu_count()} processors"
    )
    print(f"{'':22} photos/s   processor ms/photo")
    for name, measured in times.items():
        wall, used = (statistics.median(column) for column in zip(*measured[1:], strict=True))
        print(f"{name:22} {len(files) / wall:8,.0f}   {1e3 * used / len(files):18.2f}")


if __name__ == "__main__":
    main()
