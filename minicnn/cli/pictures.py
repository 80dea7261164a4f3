"""The pictures that `minicnn predict` is given: files, and folders at any depth, as a stream."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.decoding import DecodingTime, decode_in_order
from ..data.errors import DataError
from ..data.folders import Listing, walk_pictures
from ..data.pictures import border
from ..threads import get_num_threads
from .console import Console

BATCH = 64  # pictures that are classified at a time
MANY = 100  # pictures from which on the rate is worth telling
CONTRARY = 0.5  # difference in brightness of the border from which a picture seems inverted


class PictureStream:
    """Pictures in batches, as a model's input; any number of them takes the same memory.

    Decoding runs ahead in threads. What cannot be read is told and collected.

    Parameters
    ----------
    given : sequence of str
        Files and folders. Of a folder all pictures, in the order of their names; what is hidden
        or no picture by its name is passed over.
    preprocessing : dict
        The model's.
    invert : bool
        Swap dark and light first.
    console : Console

    Attributes
    ----------
    broken : list of {"path": str, "error": str}
    """

    def __init__(
        self, given: Sequence[str], preprocessing: dict[str, Any], invert: bool, console: Console
    ):
        self.given = given
        self.preprocessing = preprocessing
        self.invert = invert
        self.console = console
        self.broken: list[dict[str, str]] = []
        self._spent = DecodingTime()

    def batches(self) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Paths and pictures, (n, C, H, W) uint8 or float32, at most BATCH at a time."""
        paths: list[str] = []
        pictures: list[NDArray[np.uint8]] = []
        begin = time.perf_counter()
        decoding = decode_in_order(self._paths(), self.preprocessing, self.invert, self._spent)
        for path, decoded in decoding:
            if isinstance(decoded, DataError):
                self._tell(path, str(decoded))
                continue
            self._note_inversion(path, decoded)
            paths.append(path)
            pictures.append(decoded)
            if len(paths) == BATCH:
                yield paths, self._scaled(pictures)
                paths, pictures = [], []
        if paths:
            yield paths, self._scaled(pictures)
        if self._spent.pictures >= MANY:
            self._tell_rate(time.perf_counter() - begin)

    def _tell_rate(self, seconds: float) -> None:
        count, alone = self._spent.pictures, self._spent.rate(get_num_threads())
        self.console.say(
            f"  {count:,} pictures in {seconds:.1f} s: {count / seconds:,.0f} a second (decoding "
            f"alone: {alone:,.0f})"
        )

    def _paths(self) -> Iterator[str]:
        for name in self.given:
            if os.path.isdir(name):
                yield from self._inside(name)
            else:
                yield name

    def _inside(self, folder: str) -> Iterator[str]:
        listing = Listing(folder)
        count = 0
        for path in walk_pictures(folder, listing):
            yield path
            count += 1
        for problem in listing.problems:
            self._tell(problem.path, str(problem))
        if not count and not listing.problems:
            self._tell(folder, f"{folder}: holds no pictures")
        if listing.foreign:
            first = os.path.basename(listing.foreign[0])
            self.console.warn(
                f"note: {folder}: {len(listing.foreign):,} passed over that are no pictures by "
                f"their names: {first}{', …' if len(listing.foreign) > 1 else ''}"
            )

    def _tell(self, path: str, error: str) -> None:
        self.console.warn(f"error: {error}")
        self.broken.append({"path": path, "error": error})

    def _scaled(self, pictures: list[NDArray[np.uint8]]) -> NDArray[Any]:
        batch = np.stack(pictures)
        # uint8 is divided by 255 by the model itself.
        return batch if self.preprocessing["divisor"] == 255 else batch.astype(np.float32)

    def _note_inversion(self, name: str, picture: NDArray[np.uint8]) -> None:
        """Ink on paper, for a model that knows chalk on slate, is the commonest surprise."""
        background = self.preprocessing["background"]
        if background is None:
            return
        here = border(picture) / 255
        if abs(here - background) > CONTRARY:
            found, expected = ("light", "dark") if here > background else ("dark", "light")
            self.console.warn(
                f"note: {name}: has a {found} background, the training images a {expected} one; "
                "--invert swaps them"
            )
