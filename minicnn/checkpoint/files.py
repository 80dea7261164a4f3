"""Checkpoint files: named arrays and plain data in the safetensors format.

Nothing in a file is executed. Every size and offset is checked against the size of the file
before an array is allocated, so a hostile file costs an error and not the memory. What minicnn
writes carries a SHA-256 digest of its content, so a damaged file is an error and not a bad model.
The file format is described in docs/checkpoints.md.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minicnn.checkpoint import durable
from minicnn.checkpoint.header import (
    DTYPES,
    MAX_HEADER_BYTES,
    Entry,
    check_name,
    decode_object,
    header_size,
    parse_header,
)

FORMAT_VERSION = 1
_KEY = "minicnn"  # the entry in the file's string metadata that holds ours
_MARK = "minicnn_format"
_FIELDS = {_MARK, "sha256", "metadata"}  # of our entry
_WRITABLE = {DTYPES[code] for code in ("F32", "I64", "U8")}

Tensors = dict[str, NDArray[Any]]


class CheckpointError(ValueError):
    """A model or checkpoint that cannot be used; the message names the file and the reason."""


class HasShape(Protocol):
    """What `check_entries` needs to know of an array; NumPy arrays have it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint, replacing an older one durably and in one step.

    The same content gives the same bytes, whatever the order of the dictionaries.

    Parameters
    ----------
    path
        The file; its folder must exist.
    tensors
        float32, int64 or uint8 arrays of any shape, by name.
    metadata
        Plain data: dictionaries with string keys, lists, strings, numbers, booleans, None.
        Tuples come back as lists and keys sorted. NaN and infinities are refused.

    Raises
    ------
    TypeError
        An array of another dtype, or metadata that JSON cannot hold.
    ValueError
        A name that is empty, too long or not printable; a header that would be too large.
    OSError
        The file could not be written; the older one is still there (see `durable.write_bytes`).
    """
    from safetensors.numpy import save  # here, because `import minicnn` should not pay for it

    arrays = {name: _storable(name, tensors[name]) for name in tensors}
    plain = _plain(metadata, "metadata")
    content = {_MARK: FORMAT_VERSION, "sha256": _digest(arrays, plain), "metadata": plain}
    data = save(arrays, metadata={_KEY: _canonical(content)})
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(
            f"{os.fspath(path)}: names and metadata take {size:,} bytes, at most "
            f"{MAX_HEADER_BYTES:,} are allowed; store long lists of numbers as tensors"
        )
    durable.write_bytes(path, data)


def read(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any] | None]:
    """Read a checkpoint, or the tensors of a safetensors file of another program.

    The memory taken is the size of the arrays, which is at most that of the file; before any of
    them exists, decoding the header (4 MiB at most) can take up to 40 times its length.

    Returns
    -------
    tensors : dict of str to ndarray
        New writable arrays in the machine's byte order, in the order of the file.
    metadata : dict or None
        What `write` was given; None when the file was not written by minicnn.

    Raises
    ------
    CheckpointError
        The file is damaged, incomplete, of a newer version, or not a safetensors file.
    OSError
        The file could not be opened or read.
    """
    name = os.fspath(path)
    try:
        # Looked at before it is opened, because opening a named pipe would wait for a writer.
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise CheckpointError(f"{name}: not a file; give the path of a .safetensors file")
        with open(name, "rb") as file:
            return _read_stream(file, os.fstat(file.fileno()).st_size)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from error
    except OSError as error:
        error.filename = name
        raise


def check_entries(
    found: Mapping[str, HasShape], expected: Mapping[str, HasShape], source: str
) -> None:
    """Check that `found` can be loaded into `expected`, and tell every difference at once.

    Entries agree when their shapes are equal and their dtypes are of the same kind: a float64
    array may be loaded into a float32 one, a float array may not be loaded into an integer one.

    Parameters
    ----------
    found, expected
        Arrays, or anything with a shape and a dtype, by name.
    source
        What `found` is, for the message: a path, or "state_dict".

    Raises
    ------
    CheckpointError
        Lists all missing and unexpected names and all wrong shapes and dtypes.
    """
    problems = [f"missing {name}: {_shown(expected[name])}" for name in expected.keys() - found]
    problems += [f"unexpected {name}: {_shown(found[name])}" for name in found.keys() - expected]
    for name in expected.keys() & found:
        got, want = found[name], expected[name]
        same_kind = np.can_cast(got.dtype, want.dtype, "same_kind")
        if tuple(got.shape) != tuple(want.shape) or not same_kind:
            problems.append(f"mismatch {name}: got {_shown(got)}, expected {_shown(want)}")
    if problems:
        lines = "\n  ".join(sorted(problems))
        raise CheckpointError(
            f"{source}: {len(problems)} of its entries do not fit the model; "
            f"build the model that was saved, or load another file\n  {lines}"
        )


def _shown(array: HasShape) -> str:
    return f"{array.dtype} {tuple(array.shape)}"


def _read_stream(file: BufferedReader, file_size: int) -> tuple[Tensors, dict[str, Any] | None]:
    """`read` on an open file; every refusal is a ValueError without the path."""
    size = header_size(file.read(8), file_size)
    entries, texts = parse_header(file.read(size), file_size - 8 - size)
    content = _own_content(texts)
    tensors = {entry.name: _read_array(file, entry) for entry in entries}
    if content is None:
        metadata = None
    else:
        metadata = content["metadata"]
        if _digest(tensors, metadata) != content["sha256"]:
            raise ValueError("its content does not match its digest: it is damaged; use a copy")
    native = {name: a.astype(a.dtype.newbyteorder("="), copy=False) for name, a in tensors.items()}
    return native, metadata


def _read_array(file: BufferedReader, entry: Entry) -> NDArray[Any]:
    """The next tensor, read straight into its array.

    One copy, and no memory mapping, in which a file that shrinks meanwhile would kill the process.
    """
    array = np.empty(entry.shape, entry.dtype)
    if file.readinto(array.reshape(-1).view(np.uint8).data) != entry.end - entry.begin:
        raise ValueError(f"ended inside tensor {entry.name!r}: it changed while it was read")
    return array


def _own_content(texts: dict[str, str]) -> dict[str, Any] | None:
    """What `write` put beside the tensors, None for a file of another program."""
    if _KEY not in texts:
        # Damage to the key must not turn our file into somebody's file without a digest.
        if any(sum(f'"{field}"' in text for field in _FIELDS) >= 2 for text in texts.values()):
            raise ValueError(f"its metadata lost the key {_KEY!r}: it is damaged; use a copy")
        return None
    content = decode_object(texts[_KEY])
    version = content.get(_MARK)
    if type(version) is not int or version < 1:
        raise ValueError(f"{_MARK} is {str(version)[:20]!a}, expected 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"has format version {version}, this minicnn reads up to {FORMAT_VERSION}; "
            "use the newer minicnn that wrote it"
        )
    if content.keys() != _FIELDS or not isinstance(content["metadata"], dict):
        raise ValueError(f"its {_KEY} metadata is incomplete: it is damaged; use a copy")
    return content


def _digest(tensors: Mapping[str, NDArray[Any]], metadata: dict[str, Any]) -> str:
    """SHA-256 in hex over metadata, names, dtypes, shapes and little-endian content, by name."""
    sha = hashlib.sha256(_canonical(metadata).encode())
    for name in sorted(tensors):
        array = tensors[name]
        sha.update(_canonical([name, array.dtype.str, list(array.shape)]).encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _canonical(value: Any) -> str:
    """The one JSON text for `value`: ASCII, sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """`array` as C-contiguous little-endian data of a dtype that checkpoints hold."""
    check_name(name)
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<") not in _WRITABLE:
        got = getattr(array, "dtype", type(array).__name__)
        raise TypeError(
            f"tensor {name!r} is {got}, expected a NumPy array of float32, int64 or uint8; "
            "convert it with numpy.asarray(..., dtype)"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _plain(value: Any, where: str) -> Any:
    """A copy of `value` that reads back from JSON as it is, tuples as lists."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON does not have; store None instead")
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}, expected plain data: dictionaries with string "
        "keys, lists, strings, numbers, booleans or None; convert it, or store it as a tensor"
    )
