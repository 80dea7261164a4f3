"""Random changes to training images, as objects that are put together: `mc.augment.Compose`.

What happens to an image is a function of (seed, epoch, the image's number) and nothing else: not
of its batch, of threads, or of what was drawn before. docs/augmentation.md tells more.
"""

from .base import Geometric, Mixing, Pixelwise, Transform
from .color import ColorJitter
from .compose import Compose
from .erasing import RandomErasing
from .geometry import (
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from .mixing import CutMix, MixUp
from .presets import PRESETS, as_compose, preset

__all__ = [
    "PRESETS",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Geometric",
    "MixUp",
    "Mixing",
    "Pixelwise",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Transform",
    "as_compose",
    "preset",
]
