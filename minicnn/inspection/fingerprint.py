"""What tells a picture from others, and what stays of it when it is saved again.

Two pictures with the same pixels have the same `pixels`. One that was scaled, compressed again,
made brighter or cut a little at the borders keeps most bits of its `code`, a perceptual hash: the
signs of its 64 slowest waves (of a two-dimensional cosine transform of 32×32 means) against their
median. Ten bits of 64 also agree by chance among many pictures, so a `thumbnail` decides.

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

# WAVE[k, x] = cos(pi k (x + 1/2) / SIDE): the cosine transform, not scaled.
WAVE = np.cos(np.pi / SIDE * np.outer(np.arange(WAVES), np.arange(SIDE) + 0.5))


class Fingerprint(NamedTuple):
    """One picture in few bytes.

    Attributes
    ----------
    pixels : bytes
        Digest of size and pixels.
    code : int
        64 bits.
    thumbnail : (THUMBNAIL * THUMBNAIL,) uint8
        Grey.
    """

    pixels: bytes
    code: int
    thumbnail: NDArray[np.uint8]


def fingerprint(picture: Any) -> Fingerprint:
    """The fingerprint of an RGB picture of Pillow's."""
    from PIL import Image

    digest = hashlib.blake2b(f"{picture.size}".encode(), digest_size=16)
    digest.update(np.asarray(picture).data)
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    grey = np.asarray(small, np.float64)
    return Fingerprint(digest.digest(), code_of(grey), _thumbnail(grey))


def code_of(grey: NDArray[np.float64]) -> int:
    """The perceptual hash of a (SIDE, SIDE) grey picture, as 64 bits."""
    waves = (WAVE @ grey @ WAVE.T).ravel()
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def _thumbnail(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    step = SIDE // THUMBNAIL
    means = grey.reshape(THUMBNAIL, step, THUMBNAIL, step).mean(axis=(1, 3)).ravel()
    return np.asarray(np.rint(means), np.uint8)
