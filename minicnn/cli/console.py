"""Where words go: results to stdout, everything else to stderr."""

import json
import os
import sys
from typing import Any


class Console:
    """The two streams of one command.

    Parameters
    ----------
    as_json : bool
        The result is one JSON object; text results are left out.
    quiet : bool
        Only results, warnings and errors.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False):
        self.as_json = as_json
        self.quiet = quiet

    def say(self, text: str = "") -> None:
        """What goes on, for people, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """What should be known even when quiet, on stderr."""
        print(f"minicnn: {text}", file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """A line of the result, on stdout, unless the result is JSON."""
        if not self.as_json:
            print(text, flush=True)

    def result_object(self, value: dict[str, Any]) -> None:
        """The result as one JSON object on stdout, if that was asked for."""
        if self.as_json:
            print(_json(value), flush=True)

    def open_object(self, head: dict[str, Any], name: str) -> "ObjectStream":
        """The result as a JSON object with a list `name` that is written while it grows."""
        return ObjectStream(head, name, self.as_json)

    @property
    def shows_bars(self) -> bool:
        """Whether stderr is a terminal that a moving bar can be drawn on."""
        dumb = os.environ.get("TERM") == "dumb" or os.environ.get("CI", "false") != "false"
        return not self.quiet and not dumb and sys.stderr.isatty()


class ObjectStream:
    """One JSON object on one line of stdout, whose list takes no memory however long it gets.

    Parameters
    ----------
    head : dict
        Entries before the list.
    name : str
        Of the list.
    wanted : bool
        Otherwise nothing is written.
    """

    def __init__(self, head: dict[str, Any], name: str, wanted: bool):
        self.wanted = wanted
        self._between = ""
        self._write(f"{_json(head)[:-1]}, {_json(name)}: [")

    def add(self, entry: dict[str, Any]) -> None:
        """One more entry of the list."""
        self._write(self._between + _json(entry))
        self._between = ", "

    def close(self, tail: dict[str, Any]) -> None:
        """Entries after the list, and the end."""
        self._write(f"], {_json(tail)[1:]}\n")

    def _write(self, text: str) -> None:
        if self.wanted:
            sys.stdout.write(text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def bar_size() -> dict[str, Any]:
    """The terminal's size at each moment; on some that say 0 × 0, tqdm would show nothing."""
    try:
        known = all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
