"""Augmentation by one word: none, light or strong."""

from typing import Any

from numpy.typing import NDArray

from .base import Transform
from .color import ColorJitter
from .compose import Compose
from .erasing import RandomErasing
from .geometry import RandomHorizontalFlip, RandomResizedCrop, RandomRotation

PRESETS = ("none", "light", "strong")


def preset(name: str, channels: int = 3) -> Compose | None:
    """The transforms that `name` stands for.

    Parameters
    ----------
    name : "none", "light" or "strong"
    channels : int
        Of the images. Grey ones are taken for signs, like digits: they are not mirrored.

    Returns
    -------
    Compose, or None for "none"

    Raises
    ------
    ValueError
        For another name.
    """
    if name not in PRESETS:
        raise ValueError(f"augment is {name!r}; expected {', '.join(PRESETS)}, or a Compose")
    if name == "none":
        return None
    return Compose(*(_signs(name) if channels == 1 else _photos(name, channels)))


def as_compose(given: Any, x: NDArray[Any]) -> Compose | None:
    """What `augment=` means for the images x: None, a preset's name, a transform or a Compose.

    Raises
    ------
    TypeError, ValueError
        Something else, or images that it cannot be applied to.
    """
    if isinstance(given, str):
        given = preset(given, x.shape[1])
    if given is None:
        return None
    chain = given if isinstance(given, Compose) else Compose(given)
    chain.check(x)
    return chain


def _signs(name: str) -> list[Transform]:
    """A little larger or smaller, aside or turned."""
    if name == "light":
        return [RandomRotation(8), RandomResizedCrop((0.8, 1.0), (0.9, 1 / 0.9))]
    return [RandomRotation(15), RandomResizedCrop((0.6, 1.0), (0.8, 1.25)),
            RandomErasing(0.25, (0.02, 0.15))]  # fmt: skip


def _photos(name: str, channels: int) -> list[Transform]:
    """Mirrored, cut and recoloured; strong ones also turned and partly covered."""
    flip = RandomHorizontalFlip()
    if name == "light":
        transforms = [flip, RandomResizedCrop((0.5, 1.0), (3 / 4, 4 / 3))]
        return [*transforms, *_jitter(channels, 0.2, 0.0)]
    transforms = [flip, RandomResizedCrop((0.35, 1.0), (3 / 4, 4 / 3)), RandomRotation(10)]
    return [*transforms, *_jitter(channels, 0.3, 0.03), RandomErasing(0.25, (0.02, 0.2))]


def _jitter(channels: int, amount: float, hue: float) -> list[Transform]:
    return [ColorJitter(amount, amount, amount, hue)] if channels == 3 else []
