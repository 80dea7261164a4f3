"""Checks of arguments, shared by layers, losses, optimizers and schedules."""

import math
from collections.abc import Iterable
from typing import Any

LARGEST = 2**31 - 1  # of any size, and of the elements of one array


def whole_number(value: Any, name: str, minimum: int = 1, maximum: int = LARGEST) -> int:
    """`value` as an int in [minimum, maximum]; TypeError or ValueError naming it otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}; expected a whole number")
    number = int(value.__index__())
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


def real_number(
    value: Any, name: str, minimum: float = 0.0, maximum: float = math.inf, *, below: bool = False
) -> float:
    """`value` as a finite float in [minimum, maximum], or with `below` in [minimum, maximum)."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r}; expected a number")
    number = float(value)
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
