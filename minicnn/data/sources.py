"""From what a user types after `minicnn train` to arrays."""

import os
from collections.abc import Mapping
from typing import Any

from .dataset import Splits, join_splits
from .digits import load_digits
from .download import NAMED, Progress
from .errors import DataError
from .folders import may_hold_photos
from .idx import PathLike, find_idx, load_mnist
from .named import load_named
from .npz import load_npz


def open_source(
    spec: PathLike | None = None,
    *,
    cache: PathLike | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
    photos: Mapping[str, Any] | None = None,
) -> Splits:
    """Read the data that `spec` names, in the parts that it comes in.

    Parameters
    ----------
    spec : path, str or None
        None: the digits inside the package. A folder: IDX files, or photos in a folder
        for each class, also within train/, val/ and test/. A file ending in .npz: as in
        `load_npz`. "mnist", "fashion-mnist", "cifar10": downloaded once; a file or folder of
        that name in the current folder comes first.
    cache, base_url, progress
        For downloads, as in `minicnn.data.download.fetch`.
    photos : mapping, optional
        Arguments of `ImageFolder`, for a folder of photos: `{"image_size": 128}`.

    Returns
    -------
    Splits

    Raises
    ------
    DataError
        Nothing there, or nothing that can be used.
    """
    if spec is None:
        return Splits("digits", load_digits())
    path = os.fspath(spec)
    if os.path.isdir(path):
        if not find_idx(path) and may_hold_photos(path):
            from .image_folder import open_photos

            return open_photos(path, **(photos or {}))
        return _open_idx(path)
    if os.path.exists(path):
        if path.lower().endswith(".npz"):
            return load_npz(path)
        raise DataError(f"{path}: expected a folder or an .npz file; {_known()}")
    if path in NAMED:
        train, test = (
            load_named(path, split, cache=cache, base_url=base_url, progress=progress)
            for split in ("train", "test")
        )
        return join_splits(path, train, test=test)
    raise DataError(f"{path}: no such file or folder; {_known()}")


def _open_idx(path: str) -> Splits:
    pairs = find_idx(path)
    if "train" in pairs:
        test = load_mnist(path, "test") if "test" in pairs else None
        return join_splits(path, load_mnist(path, "train"), test=test)
    raise DataError(
        f"{path}: no photos and no train-images-idx3-ubyte with its labels in this folder; "
        f"{_known()}"
    )


def _known() -> str:
    return (
        "data are photos with a folder for each class, a folder of IDX files, an .npz file with x "
        f"and y, one of {', '.join(NAMED)}, or nothing for the digits inside the package"
    )
