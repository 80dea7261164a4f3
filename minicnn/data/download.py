"""Named data sets: downloaded once, checked, kept in a cache folder."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from .errors import DataError

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds without an answer

Progress = Callable[[str, int, int], None]


class RemoteFile(NamedTuple):
    """A file as its publisher has it; `size` in bytes, `sha256` in hexadecimal."""

    name: str
    size: int
    sha256: str


class NamedSet(NamedTuple):
    """A data set that has a name: where its files are and what the classes are called."""

    base_url: str
    files: tuple[RemoteFile, ...]
    classes: tuple[str, ...]


NAMED = {
    "mnist": NamedSet(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        tuple("0123456789"),
    ),
    "fashion-mnist": NamedSet(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
    ),
    "cifar10": NamedSet(
        "https://www.cs.toronto.edu/~kriz/",
        (
            RemoteFile(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        (
            "airplane", "automobile", "bird", "cat", "deer",
            "dog", "frog", "horse", "ship", "truck",
        ),
    ),
}  # fmt: skip


def cache_folder() -> str:
    """Where named data sets are kept: $MINICNN_CACHE, or minicnn in the user's cache folder."""
    if folder := os.environ.get("MINICNN_CACHE"):
        return folder
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "minicnn")


def fetch(
    name: str,
    *,
    cache: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
) -> str:
    """The folder with the files of a named data set, downloading what is not there yet.

    A file counts as there when its SHA-256 is right. A download goes to a temporary file in the
    same folder and is renamed when it is complete and checked, so an interrupted one leaves
    nothing behind and two at the same time do not disturb each other.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist" or "cifar10".
    cache : path, optional
        Instead of `cache_folder()`.
    base_url : str, optional
        A mirror that has the same files under the same names; http or https.
    progress : callable, optional
        Called as progress(file name, bytes so far, bytes in all).

    Returns
    -------
    str
        The path of the folder.

    Raises
    ------
    ValueError
        An unknown name, or a `base_url` of another kind.
    DataError
        No network, a server that refuses, or a file that is not the one expected; the message
        says how to put the files in place by hand.
    OSError
        The cache folder cannot be written.
    """
    if name not in NAMED:
        raise ValueError(f"no data set is named {name!r}; known are {', '.join(NAMED)}")
    source = NAMED[name]
    url = source.base_url if base_url is None else base_url.rstrip("/") + "/"
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"base_url must start with https:// or http://, got {base_url!r}")
    folder = os.path.join(cache_folder() if cache is None else os.fspath(cache), name)
    os.makedirs(folder, exist_ok=True)
    for file in source.files:
        path = os.path.join(folder, file.name)
        if not _is_there(path, file):
            try:
                _download(url + file.name, path, file, progress)
            except DataError as error:
                raise DataError(f"{error}\n{_by_hand(name, folder)}") from error
    return folder


def _is_there(path: str, file: RemoteFile) -> bool:
    import hashlib

    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _download(url: str, path: str, file: RemoteFile, progress: Progress | None) -> None:
    """Download one file to `path`, whole and checked or not at all."""
    import tempfile

    handle, partial = tempfile.mkstemp(dir=os.path.dirname(path), prefix=file.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as target:
            digest = _receive(url, target, file, progress)
            target.flush()
            os.fsync(target.fileno())
        if digest != file.sha256:
            raise DataError(
                f"{url}: not the file that is expected: SHA-256 is {digest}, "
                f"expected {file.sha256}; what was received is thrown away"
            )
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:  # Ctrl-C too
        os.unlink(partial)
        raise


def _receive(url: str, target: BinaryIO, file: RemoteFile, progress: Progress | None) -> str:
    """Copy the answer to `target`, at most one byte more than `file.size`; its SHA-256."""
    import hashlib
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    digest = hashlib.sha256()
    received = 0
    try:
        response = urlopen(url, timeout=TIMEOUT)
    except (OSError, HTTPException) as error:  # URLError and HTTPError are OSErrors
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise DataError(f"{url}: cannot be downloaded: {error}") from error
    with response:
        while chunk := _next_chunk(response, url, file.size + 1 - received):
            received += len(chunk)
            target.write(chunk)
            digest.update(chunk)
            if progress is not None:
                progress(file.name, received, file.size)
    if received != file.size:
        got = "more" if received > file.size else f"{received}"
        raise DataError(f"{url}: the download has {got} bytes, expected {file.size}")
    return digest.hexdigest()


def _next_chunk(response: Any, url: str, left: int) -> bytes:
    # By itself, so that an error of the network is not mistaken for one of the disk.
    from http.client import HTTPException

    try:
        return bytes(response.read(min(CHUNK, left)))
    except (OSError, HTTPException) as error:
        raise DataError(f"{url}: the download broke off: {error!r}") from error


def _by_hand(name: str, folder: str) -> str:
    source = NAMED[name]
    names = ", ".join(file.name for file in source.files)
    return (
        f"To do without this download, get {names} from {source.base_url} on a machine with a "
        f"network, and put the files into {folder}"
    )
