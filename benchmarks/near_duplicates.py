"""How far copies of photos are from them, and other photos from each other, for `minicnn check`.

python benchmarks/near_duplicates.py PHOTOS [--sample 300] [--many 100000]

For each way of saving a photo again: in how many of the 64 bits the codes differ (median, largest
of 95 % and of all), the correlation of the thumbnails (median, smallest of 95 % and of all), and
the share that is found by the whole picture, by its mirror image, by its middle, and by any of
these. Then the photos among each other, and the time of the search in many random codes.
"""

import argparse
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from minicnn.data.decoding import in_order
from minicnn.data.folders import list_classes
from minicnn.data.pictures import quiet_pillow, whole_picture
from minicnn.inspection.fingerprint import MIDDLES, Fingerprint, View, fingerprint
from minicnn.inspection.neighbours import ALIKE, BITS, alike_leaders, correlation, gather
from minicnn.inspection.photos import links_of
from minicnn.threads import get_num_threads


def compressed(picture: Any, quality: int) -> Any:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cut(picture: Any, share: float, corner: bool = False) -> Any:
    """Without `share` of width and height: half of it on each side, or all of it on two."""
    width, height = picture.size
    x, y = round(width * share), round(height * share)
    if corner:
        return picture.crop((x, y, width, height))
    return picture.crop((x // 2, y // 2, width - x // 2, height - y // 2))


def scaled(picture: Any, factor: float) -> Any:
    return picture.resize((round(picture.width * factor), round(picture.height * factor)))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "half the size": lambda p: scaled(p, 0.5),
    "a quarter of the size": lambda p: scaled(p, 0.25),
    "twice the size": lambda p: scaled(p, 2),
    "stretched to 128x128": lambda p: p.resize((128, 128)),
    "JPEG, quality 75": lambda p: compressed(p, 75),
    "JPEG, quality 30": lambda p: compressed(p, 30),
    "JPEG, quality 10": lambda p: compressed(p, 10),
    "half the size, JPEG 50": lambda p: compressed(scaled(p, 0.5), 50),
    "30 % darker": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "30 % brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "30 % more contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.3),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "blurred, 2 pixels": lambda p: p.filter(ImageFilter.GaussianBlur(2)),
    "2 % cut off": lambda p: cut(p, 0.02),
    "5 % cut off": lambda p: cut(p, 0.05),
    "10 % cut off": lambda p: cut(p, 0.1),
    "15 % cut off": lambda p: cut(p, 0.15),
    "20 % cut off": lambda p: cut(p, 0.2),
    "25 % cut off": lambda p: cut(p, 0.25),
    "30 % cut off": lambda p: cut(p, 0.3),
    "5 % cut off at a corner": lambda p: cut(p, 0.05, corner=True),
    "10 % cut off at a corner": lambda p: cut(p, 0.1, corner=True),
    "5 % cut off at one side": lambda p: p.crop((round(0.05 * p.width), 0, p.width, p.height)),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored, half, JPEG 50": lambda p: compressed(
        scaled(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.5), 50
    ),
    "mirrored, 5 % cut off": lambda p: cut(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.05),
}


def compare(one: list[View], other: list[View]) -> tuple[Any, Any]:
    """Differing bits and correlations, pair by pair."""
    codes, changed = (np.array([v.code for v in views], np.uint64) for views in (one, other))
    looks = [np.array([v.thumbnail for v in views]) for views in (one, other)]
    return np.bitwise_count(codes ^ changed), correlation(*looks)


def is_found(one: list[View], other: list[View]) -> Any:
    bits, like = compare(one, other)
    return (bits <= BITS) & (like >= ALIKE)


def show_change(name: str, originals: list[Fingerprint], changed: list[Fingerprint]) -> None:
    wholes = [p.whole for p in changed]
    bits, like = compare([p.whole for p in originals], wholes)
    found = [
        is_found([p.whole for p in originals], wholes),
        is_found([p.mirrored for p in originals], wholes),
        np.any([is_found([p.middles[m] for p in originals], wholes) for m in range(len(MIDDLES))],
               axis=0),
    ]  # fmt: skip
    shares = [*found, np.any(found, axis=0)]
    print(
        f"{name:24}  {np.median(bits):9.0f} {np.percentile(bits, 95):4.0f} {bits.max():4}"
        f"   {np.median(like):10.3f} {np.percentile(like, 5):6.3f} {like.min():6.3f}   "
        + "".join(f"{np.mean(share):8.1%}" for share in shares)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--many", type=int, default=100_000)
    arguments = parser.parse_args()
    files = list_classes(arguments.photos).files
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(len(files), min(arguments.sample, len(files)), replace=False))
    with quiet_pillow():
        pictures = [whole_picture(files[k])[0] for k in chosen]
        threads = get_num_threads()
        prints = list(in_order(lambda path: fingerprint(whole_picture(path)[0]), files, threads))
    originals = [prints[k] for k in chosen]
    print(f"{'saved again':24}   bits: med  95%  all   alike: med    95%    all   "
          "   whole  mirror  middle     any")  # fmt: skip
    for name, change in CHANGES.items():
        show_change(name, originals, [fingerprint(change(picture)) for picture in pictures])
    others(prints, files)
    random_search(arguments.many)


def others(prints: list[Fingerprint], files: list[str]) -> None:
    """How many pairs of different files each of the two tests lets through, in each view."""
    wholes = [p.whole for p in prints]
    codes = np.array([view.code for view in wholes], np.uint64)
    print(f"\n{len(files):,} photos, {len(files) * (len(files) - 1) // 2:,} pairs")
    views = {"whole": wholes, "mirrored": [p.mirrored for p in prints]}
    views |= {f"middle {s:g}": [p.middles[m] for p in prints] for m, s in enumerate(MIDDLES)}
    for name, seen in views.items():
        pairs = [
            (k, int(j))
            for k, view in enumerate(seen)
            for j in np.flatnonzero(np.bitwise_count(codes ^ np.uint64(view.code)) <= BITS)
            if j != k and (name != "whole" or j < k)
        ]
        a, b = zip(*pairs, strict=True) if pairs else ((), ())
        _, like = compare([seen[k] for k in a], [wholes[k] for k in b])
        highest = ", ".join(f"{value:.3f}" for value in np.sort(like)[::-1][:3])
        print(f"{name:12} {len(pairs):4} within {BITS} bits, the most alike: {highest}")
    for how, linked in links_of(prints).items():
        for a, b in linked:
            print(f"  {files[a]} = {files[b]}: {how}")


def random_search(count: int) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2**64, count, dtype=np.uint64)
    looks = rng.integers(0, 256, (count, 256), dtype=np.uint8)
    start = time.perf_counter()
    leaders, pairs = gather(codes, looks)
    pairs += alike_leaders(leaders, codes, looks)
    seconds = time.perf_counter() - start
    views = rng.integers(0, 2**64, count, dtype=np.uint64)
    again = time.perf_counter()
    pairs += alike_leaders(leaders, codes, looks, views, looks)
    more = time.perf_counter() - again
    print(f"\n{count:,} random codes: {len(pairs)} pairs in {seconds:.1f} s, "
          f"and {more:.1f} s for each other view")  # fmt: skip


if __name__ == "__main__":
    main()
