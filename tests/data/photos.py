"""Folders of small photos for tests."""

import numpy as np
from PIL import Image

COLOURS = {"blue": (20, 30, 220), "green": (20, 200, 30), "red": (220, 30, 20)}


def save_photo(path, colour, seed=0, size=(20, 14)):
    """A picture of one colour with a little noise; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 20, (size[1], size[0], 3))
    Image.fromarray((noise + colour).astype(np.uint8)).save(path)
    return path


def make_photos(root, per_class=8):
    """One folder for each of three colours, which are easy to tell apart."""
    for name, colour in COLOURS.items():
        for k in range(per_class):
            save_photo(root / name / f"{k:02d}.{('png', 'jpg')[k % 2]}", colour, k, (20 + k, 14))
    return root
