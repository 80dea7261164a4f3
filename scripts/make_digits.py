"""Make minicnn/data/digits.npz from scikit-learn's copy of the UCI optical digits.

    python scripts/make_digits.py [FILE]

The same input gives the same bytes: NumPy dates every member of an .npz file 1980-01-01.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parent.parent / "minicnn" / "data" / "digits.npz"


def main(target: Path) -> None:
    source = load_digits()
    grey = source.images.astype(np.uint8)
    labels = source.target.astype(np.uint8)
    if grey.shape != (1797, 8, 8) or not np.array_equal(grey, source.images) or grey.max() != 16:
        raise SystemExit(f"not the digits that are expected: {source.images.shape}")
    np.savez_compressed(target, images=grey, labels=labels)
    print(f"{target}: {len(labels)} digits, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
