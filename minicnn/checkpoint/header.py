"""The header of a safetensors file, checked before anybody trusts a number in it.

A file is: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces), the
data. The header maps each tensor's name to its dtype, shape and place in the data; the optional
entry `__metadata__` maps strings to strings. Here the tensors must fill the data exactly, without
overlap or gap, so the size of the file bounds the memory that its arrays can take.

Source: https://github.com/huggingface/safetensors, section "Format" of the README.
"""

import json
import math
from typing import Any, NamedTuple

import numpy as np

MAX_HEADER_BYTES = 4 << 20
MAX_AXES = 8
MAX_NAME = 256

# The codes that are read, all little-endian; other programs write wider and narrower floats.
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


class Entry(NamedTuple):
    """One tensor: bytes [begin, end) of the data section."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def header_size(prefix: bytes, file_size: int) -> int:
    """The length of the header from the file's first 8 bytes, known to lie inside the file.

    Raises
    ------
    ValueError
        The file is too short for any header, or the length is impossible.
    """
    if len(prefix) < 8:
        raise ValueError(f"is only {file_size} bytes long; not a safetensors file, or cut off")
    size = int.from_bytes(prefix, "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(
            f"header length is {size:,}, expected at most {MAX_HEADER_BYTES:,}; "
            "not a safetensors file, or damaged"
        )
    if size > file_size - 8:
        raise ValueError(
            f"is {file_size:,} bytes long, but its header alone needs {size + 8:,}; it is cut off"
        )
    return size


def parse_header(text: bytes, data_size: int) -> tuple[list[Entry], dict[str, str]]:
    """Decode a header and check every entry against the size of the data section.

    Parameters
    ----------
    text
        The header without its length.
    data_size
        Number of bytes in the file after the header.

    Returns
    -------
    entries : list of Entry
        In the order of the data.
    metadata : dict of str to str
        Empty when the header has none.

    Raises
    ------
    ValueError
        Anything that the format does not allow; the message says what, got and expected.
    """
    header = decode_object(text)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"header entry {_METADATA} must map strings to strings")
    entries = [_entry(name, fields, data_size) for name, fields in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end, entry.name))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ValueError(
                f"tensor {entry.name!r} begins at byte {entry.begin:,} of the data, expected "
                f"{position:,}: tensors may neither overlap nor leave gaps"
            )
        position = entry.end
    if position != data_size:
        raise ValueError(
            f"has {data_size:,} bytes of data, but its tensors end at {position:,}; "
            "bytes were appended or the header is damaged"
        )
    return entries, metadata


def decode_object(text: bytes | str) -> dict[str, Any]:
    """Decode strict JSON whose outermost value is an object: no NaN, no key given twice.

    Raises
    ------
    ValueError
        The text is something else.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("header is not valid: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"header is not valid: {error}") from None
    # The format wants the brace first; JSON itself would allow blanks before it.
    if not isinstance(value, dict) or not text.startswith("{"):
        raise ValueError("header is not valid: it must be a JSON object")
    return value


def check_name(name: str) -> None:
    """Refuse a tensor name that could not be shown in a message or told from another.

    Raises
    ------
    ValueError
        The name is empty, reserved, too long, or holds characters that do not print.
    """
    if not name or name == _METADATA or len(name) > MAX_NAME or not name.isprintable():
        shown = name if len(name) <= 40 else name[:40] + "..."
        raise ValueError(
            f"tensor name {shown!a} is not usable: expected 1 to {MAX_NAME} printable characters, "
            f"and not {_METADATA}"
        )


def _entry(name: str, fields: Any, data_size: int) -> Entry:
    """One header entry as an `Entry`, its arithmetic checked in Python's unbounded integers."""
    check_name(name)
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise ValueError(f"tensor {name!r} must have exactly the fields {sorted(_FIELDS)}")
    code, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(
            f"tensor {name!r} has dtype {str(code)[:20]!a}, expected one of {', '.join(DTYPES)}; "
            "convert it to float32 or int64 in the program that wrote it"
        )
    if not _are_sizes(shape) or len(shape) > MAX_AXES:
        raise ValueError(f"tensor {name!r} must have a shape of at most {MAX_AXES} sizes >= 0")
    if not _are_sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_size:
        raise ValueError(
            f"tensor {name!r} must have data_offsets [begin, end] inside the {data_size:,} bytes "
            "of data; the file is cut off or damaged"
        )
    dtype = DTYPES[code]
    begin, end = offsets
    # An empty tensor takes no bytes, yet its other axes could still overflow an array's strides.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 62:
        raise ValueError(f"tensor {name!r} has a shape that is too large")
    if (need := math.prod(shape) * dtype.itemsize) != end - begin:
        raise ValueError(
            f"tensor {name!r} of shape {tuple(shape)} and dtype {code} needs {need:,} bytes, "
            f"its data_offsets give {end - begin:,}"
        )
    return Entry(name, dtype, tuple(shape), begin, end)


def _are_sizes(values: Any) -> bool:
    """Whether `values` is a list of integers >= 0; JSON's true is an int to Python."""
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
