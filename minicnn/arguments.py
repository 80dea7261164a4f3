"""Checks of arguments, shared by layers, losses, optimizers and schedules."""

import math
import operator
from collections.abc import Iterable
from typing import Any

LARGEST = 2**31 - 1  # of any size, and of the elements of one array


def whole_number(value: Any, name: str, minimum: int = 1, maximum: int = LARGEST) -> int:
    """`value` as an int in [minimum, maximum]; TypeError or ValueError naming it otherwise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; expected a whole number")
    if not minimum <= number <= maximum:
        raise ValueError(f"{name} is {number}; expected {minimum} to {maximum}")
    return number


def pair(value: Any, name: str, minimum: int = 1) -> tuple[int, int]:
    """One whole number for both axes, or two as (vertical, horizontal)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name} is {value!r}; expected a whole number or a pair (h, w)")
        return whole_number(value[0], name, minimum), whole_number(value[1], name, minimum)
    number = whole_number(value, name, minimum)
    return number, number


def sizes(value: Any, name: str) -> tuple[int, ...]:
    """A shape as positive ints; TypeError or ValueError naming it otherwise."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {value!r}; expected sizes, like (1, 28, 28)")
    shape = tuple(whole_number(size, f"a size in {name}") for size in value)
    if not shape:
        raise ValueError(f"{name} is (); expected positive sizes, like (1, 28, 28)")
    return shape


def real_number(
    value: Any, name: str, minimum: float = 0.0, maximum: float = math.inf, *, below: bool = False
) -> float:
    """`value` as a finite float in [minimum, maximum], or with `below` in [minimum, maximum)."""
    scalar = not isinstance(value, (bool, complex)) and getattr(value, "ndim", 0) == 0
    if not scalar or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{name} is {value!r}; expected a number")
    try:
        number = float(value)
    except OverflowError:  # an int beyond the floats
        number = math.inf if value > 0 else -math.inf
    fits = minimum <= number < maximum if below else minimum <= number <= maximum
    if not fits or math.isinf(number):
        end = ")" if below or math.isinf(maximum) else "]"
        raise ValueError(f"{name} is {number}; expected a number in [{minimum}, {maximum}{end}")
    return number


def flag(value: Any, name: str) -> bool:
    """`value` if it is True or False; TypeError naming it otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; expected True or False")
    return value


def check_names(what: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """ValueError listing every missing and every unexpected name, if there are any."""
    missing, unexpected = set(expected) - set(given), set(given) - set(expected)
    if missing or unexpected:
        raise ValueError(
            f"{what}: missing {sorted(missing)}, unexpected {sorted(unexpected)}; expected neither"
        )


def size_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 3×32×32."""
    return "×".join(map(str, shape)) or "()"
