"""What a transform is: choices from uniform numbers, and what they do to images.

There are three kinds, by what they need: `Geometric` ones say where each pixel comes from,
`Pixelwise` ones change the values of an image, `Mixing` ones put two images together. Subclass
the one that fits to add a transform of your own.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number

Floats = NDArray[np.float32]
Range = tuple[float, float]
Size = tuple[int, int]


class Transform:
    """One random change, described by its arguments.

    Attributes
    ----------
    draws : int
        How many uniform numbers in [0, 1) it uses for each image and epoch.
    names : tuple of str
        The constructor's arguments, kept as attributes.
    """

    draws: ClassVar[int] = 0
    names: ClassVar[tuple[str, ...]] = ()

    def hyper_parameters(self) -> dict[str, Any]:
        """The constructor's arguments by name, as plain data."""
        return {name: getattr(self, name) for name in self.names}

    def __call__(self, x: Any, *, seed: int = 0, epoch: int = 0) -> Floats:
        """`Compose(self)(x)`: the images changed, (N, C, H, W) float32."""
        from .compose import Compose

        return Compose(self)(x, seed=seed, epoch=epoch)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.hyper_parameters().items())
        return f"{type(self).__name__}({arguments})"


class Geometric(Transform):
    """Moves pixels. Neighbouring ones are joined, so the images are resampled once."""

    def maps(self, u: Floats, size: Size) -> NDArray[np.float64]:
        """Where the pixels come from.

        Parameters
        ----------
        u : (n, draws) float32
            Uniform numbers in [0, 1), a row for each image.
        size : (height, width)

        Returns
        -------
        (n, 3, 3) float64
            Output (column, row, 1) to input (column, row, 1); centres of pixels are whole.
        """
        raise NotImplementedError


class Pixelwise(Transform):
    """Changes the values of each image by itself."""

    def apply(self, x: Floats, u: Floats) -> None:
        """Change images (n, C, H, W), 0 … 1, in place; u (n, draws) as in `Geometric.maps`."""
        raise NotImplementedError

    def check(self, x: NDArray[Any]) -> None:
        """Raise a ValueError when it cannot be applied to the images x (N, C, H, W)."""


class Mixing(Transform):
    """Puts each image together with another one of the data, and their labels in proportion.

    Attributes
    ----------
    p : float
        Share of the images that it is applied to.
    """

    p: float

    def mix(self, x: Floats, others: Floats, u: Floats) -> Floats:
        """Change images in place.

        Parameters
        ----------
        x, others : (n, C, H, W) float32
        u : (n, draws) float32

        Returns
        -------
        (n,) float32
            How much of each label stays; the rest goes to the other's label.
        """
        raise NotImplementedError


def interval(value: Any, name: str, minimum: float = 0.0, maximum: float = float("inf")) -> Range:
    """Two numbers, low <= high, within [minimum, maximum]."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; expected a pair (low, high)")
    low, high = (real_number(v, f"{end} of {name}", minimum, maximum)
                 for v, end in zip(value, ("low", "high"), strict=True))  # fmt: skip
    if low > high:
        raise ValueError(f"{name} is {value!r}; expected low <= high")
    return low, high


def positive_interval(value: Any, name: str) -> Range:
    """`interval` of numbers above zero."""
    low, high = interval(value, name)
    if not low > 0:
        raise ValueError(f"{name} is {value!r}; expected numbers above 0")
    return low, high


def spread(u: NDArray[Any], bounds: Range) -> NDArray[np.float64]:
    """Uniform numbers of [0, 1) as such of [low, high)."""
    low, high = bounds
    return low + (high - low) * u.astype(np.float64)


def log_spread(u: NDArray[Any], bounds: Range) -> NDArray[np.float64]:
    """As `spread`, uniform in the logarithm: 1/2 is as likely as 2."""
    low, high = bounds
    ratios: NDArray[np.float64] = low * np.exp(np.log(high / low) * u.astype(np.float64))
    return ratios
