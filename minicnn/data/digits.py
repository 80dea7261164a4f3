"""The digits inside the package: real data that needs no network and no arguments.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0 (see digits.txt).
"""

import os

import numpy as np

from .dataset import Dataset

PATH = os.path.join(os.path.dirname(__file__), "digits.npz")


def load_digits() -> Dataset:
    """1,797 handwritten digits as 8x8 grey images, about 180 of each class.

    The original grey values v = 0 ... 16 become the bytes (255 v + 8) // 16, that is 255 v / 16
    rounded half up, so that the usual scaling by 1/255 maps the whole range to 0 ... 1.
    (16 * image + 127) // 255 gives the original values back.

    Returns
    -------
    Dataset
        images (1797, 1, 8, 8) uint8, labels (1797,) int64, classes "0" ... "9"; new arrays at
        every call, in the order of scikit-learn's copy.
    """
    with np.load(PATH, allow_pickle=False) as archive:
        grey = archive["images"].astype(np.uint16)
        labels = archive["labels"].astype(np.int64)
    images = ((255 * grey + 8) // 16).astype(np.uint8)[:, np.newaxis]
    return Dataset(images, labels, tuple("0123456789"))
