"""Random brightness, contrast, saturation and hue."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number
from ..kernels.augment import map_colors
from .base import Floats, Pixelwise, Range, interval, spread

# Red, green, blue to brightness and two colour differences, and back (the YIQ of NTSC).
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
YIQ[1:] -= YIQ[1:].mean(axis=1, keepdims=True)  # so that grey has none, to the last digit
RGB = np.linalg.inv(YIQ)


class ColorJitter(Pixelwise):
    """Changes brightness, contrast, saturation and hue of each image by random amounts.

    With factors b, c, s, the turn h, the mean brightness g of the image and the brightness l of
    a pixel, the four steps are x → b x, x → c x + (1 − c) b g, x → s x + (1 − s) l, and a turn
    of the colour circle (in YIQ) by h. They are linear, so they are joined to one map, and its
    result is clamped to 0 … 1 once.

    Parameters
    ----------
    brightness, contrast, saturation : float or (low, high)
        Range of the factor; a number v means (max(0, 1 − v), 1 + v).
    hue : float or (low, high)
        Turn, as a share of the whole circle, within −0.5 … 0.5; a number h means (−h, h).

    Grey images have neither saturation nor hue. Images must be grey or RGB, and within 0 … 1.

    Source: Howard, "Some improvements on deep convolutional neural network based image
    classification" (2013).
    """

    draws, names = 4, ("brightness", "contrast", "saturation", "hue")

    def __init__(
        self, brightness: Any = 0.0, contrast: Any = 0.0, saturation: Any = 0.0, hue: Any = 0.0
    ):
        self.brightness = _factors(brightness, "brightness")
        self.contrast = _factors(contrast, "contrast")
        self.saturation = _factors(saturation, "saturation")
        if not isinstance(hue, (tuple, list)):
            limit = real_number(hue, "hue", maximum=0.5)
            hue = (-limit, limit)
        self.hue = interval(hue, "hue", -0.5, 0.5)

    def check(self, x: NDArray[Any]) -> None:
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"ColorJitter takes images with 1 or 3 channels, got {x.shape[1]}; leave it out"
            )
        if x.dtype != np.uint8 and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(
                f"ColorJitter takes values of 0 … 1, got {x.min():g} … {x.max():g}; scale the "
                "images, or give them as uint8"
            )

    def apply(self, x: Floats, u: Floats) -> None:
        bounds = (self.brightness, self.contrast, self.saturation, self.hue)
        b, c, s, h = (spread(u[:, k], bound) for k, bound in enumerate(bounds))
        matrices = (b * c)[:, None, None] * (
            np.ones((1, 1)) if x.shape[1] == 1 else _turned(s, 2 * np.pi * h)
        )
        shares = ((1.0 - c) * b).astype(np.float32)
        map_colors(x.reshape(*x.shape[:2], -1), matrices.astype(np.float32), shares)


def _turned(saturation: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3, 3): brightness stays, the two colour differences are scaled and turned."""
    inner = np.zeros((len(angle), 3, 3))
    inner[:, 0, 0] = 1.0
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    inner[:, 1, 1], inner[:, 1, 2] = cos, -sin
    inner[:, 2, 1], inner[:, 2, 2] = sin, cos
    matrices: NDArray[np.float64] = RGB @ inner @ YIQ
    matrices[(saturation == 1) & (angle == 0)] = np.eye(3)  # no colour is to change at all
    return matrices


def _factors(value: Any, name: str) -> Range:
    if isinstance(value, (tuple, list)):
        return interval(value, name)
    amount = real_number(value, name)
    return max(0.0, 1.0 - amount), 1.0 + amount
