"""Reading the named data sets from their files: MNIST, Fashion-MNIST and CIFAR-10."""

import os
from typing import Any

import numpy as np

from .dataset import Dataset
from .download import NAMED, Progress, fetch
from .errors import DataError
from .idx import PathLike, load_mnist

# A record of the binary version of CIFAR-10: the label, then 32x32 red, green and blue bytes.
# The other version of CIFAR-10 is a Python pickle, which can run code, and is never read.
CIFAR_SHAPE = (3, 32, 32)
CIFAR_RECORD = 1 + 3 * 32 * 32
CIFAR_MEMBERS = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{k}.bin" for k in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
MAX_MEMBER = 1 << 26  # 64 MiB, twice the size of a real one


def load_named(
    name: str,
    split: str = "train",
    *,
    cache: PathLike | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """One split of a named data set, downloaded at the first use.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist" or "cifar10".
    split : "train" or "test"
    cache, base_url, progress
        As in `minicnn.data.download.fetch`.

    Returns
    -------
    Dataset
        (N, 1, 28, 28) or, for cifar10, (N, 3, 32, 32) uint8 images in the order red, green,
        blue.

    Raises
    ------
    ValueError
        An unknown name or split.
    DataError
        A failed download or a broken file.
    """
    if split not in CIFAR_MEMBERS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    folder = fetch(name, cache=cache, base_url=base_url, progress=progress)
    if name == "cifar10":
        return load_cifar10(os.path.join(folder, NAMED[name].files[0].name), split)
    return load_mnist(folder, split)._replace(classes=NAMED[name].classes)


def load_cifar10(path: PathLike, split: str = "train") -> Dataset:
    """One split of `cifar-10-binary.tar.gz`, read without unpacking anything to disk.

    Parameters
    ----------
    path : path
    split : "train" or "test"

    Returns
    -------
    Dataset
        images (N, 3, 32, 32) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        No such archive, a missing or damaged batch, or a label that is no class.
    """
    import tarfile
    import zlib

    path = os.fspath(path)
    try:
        with tarfile.open(path, "r|gz") as archive:
            contents = _read_members(archive, path, CIFAR_MEMBERS[split])
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot be read as a .tar.gz archive: {error}") from error
    batches = [np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD) for data in contents]
    labels = np.concatenate([batch[:, 0] for batch in batches]).astype(np.int64)
    images = np.concatenate([batch[:, 1:] for batch in batches])
    classes = NAMED["cifar10"].classes
    if labels.max() >= len(classes):
        raise DataError(f"{path}: label {labels.max()} found, expected 0 ... {len(classes) - 1}")
    return Dataset(images.reshape(-1, *CIFAR_SHAPE), labels, classes)


def _read_members(archive: Any, path: str, names: tuple[str, ...]) -> list[bytes]:
    """The bytes of the regular files `names`, in that order; other members are passed over."""
    found: dict[str, bytes] = {}
    for member in archive:
        if member.size > MAX_MEMBER:
            raise DataError(f"{path}: {member.name} declares {member.size} bytes; not CIFAR-10")
        # Names are compared as text and nothing is written, so no path can lead anywhere.
        if member.name in names and member.isreg():
            if member.size == 0 or member.size % CIFAR_RECORD:
                raise DataError(
                    f"{path}: {member.name} has {member.size} bytes, expected a multiple of "
                    f"{CIFAR_RECORD}"
                )
            found[member.name] = archive.extractfile(member).read()
        if len(found) == len(names):
            return [found[name] for name in names]
    missing = ", ".join(name for name in names if name not in found)
    raise DataError(f"{path}: {missing} not found; expected the binary version of CIFAR-10")
