"""Words about folders of photos: how far the reading is, what was passed over or left out."""

import os
import sys
from typing import TYPE_CHECKING, Any

from .console import Console, bar_size
from .failures import ExitCode, Failure

if TYPE_CHECKING:
    from ..data.dataset import Photos, Splits

FEW = 10  # images of a class below which its accuracy is a matter of luck
FEWEST = 3  # below which nothing can be learnt from it, and nothing said about it
SHOWN = 3  # names in a note


class Decoding:
    """Shows how far the decoding is: a bar on a terminal, one line elsewhere.

    As a context manager it takes the bar away however the reading ends.
    """

    def __init__(self, console: Console):
        self.console = console
        self._bar: Any = None

    def __call__(self, root: str, done: int, total: int) -> None:
        """As `progress` of `ImageFolder`."""
        from .text import plural

        if done == 1:
            line = f"  reading {root}  {plural(total, 'file')}"
            if self.console.shows_bars:
                from tqdm import tqdm  # type: ignore[import-untyped]

                self._bar = tqdm(total=total, desc=line, file=sys.stderr, leave=False, **bar_size())
            else:
                self.console.say(line)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if done == total:
                self._close()

    def __enter__(self) -> "Decoding":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def check_photo_options(options: dict[str, Any], splits: "Splits") -> None:
    """Refuse options for photos where the data are none: they would be without effect."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given and splits.photos is None:
        raise Failure(
            ExitCode.USAGE,
            f"error: {splits.name} is no folder of photos, so {' and '.join(given)} would change "
            "nothing; leave it out",
        )


def note_passed_over(photos: "Photos", console: Console) -> None:
    """Say once what was not even looked at."""
    if photos.hidden:
        console.say(f"  hidden  {_some(photos.hidden)} passed over")
    if photos.foreign:
        console.say(f"  other   {_some(photos.foreign)}: no pictures by their names, passed over")


def check_classes(splits: "Splits", allow_tiny: bool, console: Console) -> None:
    """Refuse a class of one or two pictures; note those with very few.

    With `allow_tiny` two are enough, and one where it need not be in a validation part as well.
    """
    import numpy as np

    counts = np.bincount(splits.train.labels, minlength=len(splits.train.classes))
    named = list(zip(splits.train.classes, counts.tolist(), strict=True))
    single = [name for name, count in named if count == 1]
    if single and splits.validation is None:
        raise Failure(
            ExitCode.DATA,
            f"error: {splits.name}: one picture only of {_listed(single)}; a class needs two at "
            "least, one to learn from and one to validate with; add pictures or remove the folder",
        )
    tiny = [f"{name} ({count})" for name, count in named if count < FEWEST]
    if tiny and not allow_tiny:
        raise Failure(
            ExitCode.DATA,
            f"error: {splits.name}: fewer than {FEWEST} pictures of {_listed(tiny)}, too few to "
            "learn from and to judge by; add pictures, remove the folder, or give --allow-tiny",
        )
    few = [f"{name} ({count})" for name, count in named if count < FEW]
    if few:
        console.warn(
            f"note: fewer than {FEW} pictures of {_listed(few)}; the accuracy of such a class "
            "says little"
        )


def list_left_out(photos: "Photos | None", console: Console) -> None:
    """At the end, every file that --on-error skip left out."""
    from .text import plural

    if photos is not None and photos.problems:
        console.warn(f"{plural(len(photos.problems), 'problem')} in the data, left out:")
        for problem in photos.problems:
            console.warn(f"  {problem}")


def left_out(photos: "Photos | None") -> dict[str, Any]:
    """The same for the JSON object; nothing for data that are no photos."""
    if photos is None:
        return {}
    return {"left_out": [{"path": path, "error": reason} for path, reason in photos.problems]}


def nested_hint(root: str, classes: tuple[str, ...]) -> str:
    """A hint for whom the only class folder holds folders itself."""
    if len(classes) == 1:
        inside = os.path.join(root, classes[0])
        if os.path.isdir(inside) and any(
            os.path.isdir(os.path.join(inside, name)) for name in os.listdir(inside)
        ):
            return f"; if the classes are the folders in {inside}, give that one"
    return ""


def _some(paths: tuple[str, ...]) -> str:
    return _listed([os.path.basename(path) for path in paths])


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
