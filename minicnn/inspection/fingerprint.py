"""What tells a picture from others, and what stays of it when it is saved again.

Two pictures with the same pixels have the same `pixels`. One that was scaled, compressed again,
made brighter or cut a little at the borders keeps most bits of its `code`, a perceptual hash: the
signs of its 64 slowest waves (of a two-dimensional cosine transform of 32×32 means) against their
median. Ten bits of 64 also agree by chance among many pictures, so a `thumbnail` decides. For
mirror images and for crops, the same is kept of the mirrored picture and of its middle.

Idea of the hash: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels of the picture that is transformed
WAVES = 8  # kept along each axis
THUMBNAIL = 16  # side
MIDDLES = (0.9, 0.8)  # of width and height: what a crop may have left
BASE = 96  # pixels of the picture that middles are taken from

# WAVE[k, x] = cos(pi k (x + 1/2) / SIDE): the cosine transform, not scaled.
WAVE = np.cos(np.pi / SIDE * np.outer(np.arange(WAVES), np.arange(SIDE) + 0.5))


class View(NamedTuple):
    """One look at a picture.

    Attributes
    ----------
    code : int
        64 bits.
    thumbnail : (THUMBNAIL * THUMBNAIL,) uint8
        Grey.
    """

    code: int
    thumbnail: NDArray[np.uint8]


class Fingerprint(NamedTuple):
    """One picture in few bytes.

    Attributes
    ----------
    pixels : bytes
        Digest of size and pixels.
    whole, mirrored : View
    middles : tuple of View
        Of its middle, a view for each of MIDDLES.
    """

    pixels: bytes
    whole: View
    mirrored: View
    middles: tuple[View, ...]


def fingerprint(picture: Any) -> Fingerprint:
    """The fingerprint of an RGB picture of Pillow's."""
    from PIL import Image

    digest = hashlib.blake2b(f"{picture.size}".encode(), digest_size=16)
    digest.update(np.asarray(picture).data)
    base = picture.resize((BASE, BASE), Image.Resampling.BOX).convert("L")

    def view(share: float, mirrored: bool = False) -> View:
        edge = BASE * (1 - share) / 2
        box = (edge, edge, BASE - edge, BASE - edge)
        small = base.resize((SIDE, SIDE), Image.Resampling.BOX, box)
        grey = np.asarray(small, np.float64)[:, :: -1 if mirrored else 1]
        return View(code_of(grey), _thumbnail(grey))

    middles = tuple(view(share) for share in MIDDLES)
    return Fingerprint(digest.digest(), view(1), view(1, mirrored=True), middles)


def code_of(grey: NDArray[np.float64]) -> int:
    """The perceptual hash of a (SIDE, SIDE) grey picture, as 64 bits."""
    waves = (WAVE @ grey @ WAVE.T).ravel()
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def _thumbnail(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    step = SIDE // THUMBNAIL
    means = grey.reshape(THUMBNAIL, step, THUMBNAIL, step).mean(axis=(1, 3)).ravel()
    return np.asarray(np.rint(means), np.uint8)
