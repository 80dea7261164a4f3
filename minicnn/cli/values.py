"""The kinds of values that options take; argparse turns their errors into usage errors."""

import argparse
import math
from collections.abc import Callable

LARGEST = 2**31 - 1
LARGEST_SIDE = 4096  # pixels, as in data/pictures.py


def whole(minimum: int = 1, maximum: int = LARGEST) -> Callable[[str], int]:
    """A whole number in [minimum, maximum]."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected a whole number from {minimum} to {maximum}"
            )
        return value

    return parse


def real(
    minimum: float = 0.0, maximum: float = math.inf, *, above: bool = False, below: bool = False
) -> Callable[[str], float]:
    """A finite number in [minimum, maximum]; `above`, `below`: without that end."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        low = value > minimum if above else value >= minimum
        high = value < maximum if below else value <= maximum
        if not (low and high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text!r}; expected a number {_range()}")
        return value

    def _range() -> str:
        start = f"above {minimum:g}" if above else f"from {minimum:g}"
        if math.isinf(maximum):
            return start if above else f"{start} on"
        return f"{start} {'and below' if below else 'to'} {maximum:g}"

    return parse


def learning_rate(text: str) -> float | str:
    """A number above 0, or 'auto'."""
    if text == "auto":
        return text
    try:
        return real(above=True)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


def image_size(text: str) -> str:
    """HEIGHTxWIDTH, or one number for a square, in its one spelling: '64' becomes '64x64'."""
    sides = text.lower().split("x")
    if len(sides) == 1:
        sides *= 2
    try:
        height, width = map(whole(1, LARGEST_SIDE), sides)
    except (argparse.ArgumentTypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected HEIGHTxWIDTH or one number, with sides of 1 to {LARGEST_SIDE}"
        ) from None
    return f"{height}x{width}"
