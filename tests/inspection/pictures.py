"""Pictures with features, as photos have them, that chance makes all different."""

import numpy as np
from PIL import Image


def scene(seed, size=(120, 90)):
    """A colourful picture of large and small shapes; `size` is (width, height)."""
    rng = np.random.default_rng(seed)
    coarse, fine = (rng.integers(0, 256, (n, n, 3), dtype=np.uint8) for n in (5, 14))
    layers = [Image.fromarray(a).resize(size, Image.Resampling.BICUBIC) for a in (coarse, fine)]
    return Image.blend(*layers, 0.3)


def save_scenes(root, classes=("cat", "dog"), count=12, first=0):
    """A folder for each class with `count` different pictures as PNG."""
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for n in range(count):
            scene(first + 1000 * k + n).save(root / name / f"{n:02d}.png")
    return root
