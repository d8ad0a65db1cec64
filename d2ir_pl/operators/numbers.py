"""Arrays of numbers in JSON files: exact, compact where they are large, and read without trust."""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ir_pl.schema import MAX_PIXELS, read_json

Array = NDArray[np.generic]

LISTED = 1024
"""Numbers up to which an array is written as lists: those of a kernel with a side of 32."""

MOST_NUMBERS, MOST_BITS = 2**26, MAX_PIXELS
"""Numbers that are unpacked at most, and those of 0 and 1 alone, such as a mask's."""


def packed(array: Array, listed: int = LISTED) -> Any:
    """Write an array of float32 or whole numbers as JSON, from which `unpacked` makes the same.

    Up to `listed` numbers are nested lists. A larger array is a dictionary of its `shape`, its
    `dtype` and, in base64 of zlib, its little-endian bytes (`zlib`) or, if it holds nothing but 0
    and 1, a bit for each number, the first in the highest (`bits`).

    Args:
        array: of any shape.
        listed: number of values up to which lists are written.
    """
    whole = array.dtype.kind in "iub"
    array = array.astype("<i8" if whole else "<f4")
    if array.size <= listed:
        # The shortest decimal number that rounds to the same float32.
        return (array if whole else array.astype(str).astype(np.float64)).tolist()
    head: dict[str, Any] = {"shape": [*array.shape], "dtype": "int64" if whole else "float32"}
    if bool(((array == 0) | (array == 1)).all()):
        return {**head, "bits": _text(np.packbits(array.astype(bool)).tobytes())}
    return {**head, "zlib": _text(array.tobytes())}


def unpacked(data: Any) -> Array:
    """The array, of float32 or int64, that JSON holds as `packed` writes it.

    Raises:
        ValueError: if it is no such array, or holds a number that is not finite.
    """
    try:
        array = _from_bytes(data) if isinstance(data, dict) else _from_lists(data)
    except (ValueError, TypeError, KeyError, OverflowError, zlib.error, binascii.Error):
        raise ValueError("numbers are missing or damaged") from None
    if not bool(np.isfinite(array).all()):
        raise ValueError("numbers are not finite")
    return array


def compacted(description: Any) -> Any:
    """Replace the large arrays in what `Degradation.describe` gives by packed ones.

    Args:
        description: dictionaries and lists of what JSON can hold. A list of lists of more than
            `LISTED` floats altogether is an array.
    """
    if isinstance(description, dict):
        return {name: compacted(value) for name, value in description.items()}
    if not isinstance(description, list):
        return description
    if _count(description) > LISTED:
        with contextlib.suppress(ValueError, TypeError, OverflowError):  # lists of unlike lengths
            return packed(_from_lists(description))
    return [compacted(value) for value in description]


def read_object(path: Path) -> dict[str, Any]:
    """The dictionary that a JSON file holds.

    Raises:
        ValueError: if the file cannot be read or holds anything else; the message says which.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("holds no record of a restored photo")
    return found


def _from_lists(data: Any) -> Array:
    array = np.asarray(data)
    if array.dtype.kind == "i":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise TypeError
    return array.astype(np.float32)


def _from_bytes(data: dict[str, Any]) -> Array:
    shape = [int(n) for n in data["shape"]]
    count = math.prod(shape)
    most = MOST_BITS if "bits" in data else MOST_NUMBERS
    if min(shape) < 0 or data["dtype"] not in ("float32", "int64") or count > most:
        raise ValueError
    if "bits" in data:
        bits = np.frombuffer(_bytes(data["bits"], -(-count // 8)), np.uint8)
        return np.unpackbits(bits, count=count).reshape(shape).astype(data["dtype"])
    dtype = np.dtype(data["dtype"]).newbyteorder("<")
    values = np.frombuffer(_bytes(data["zlib"], count * dtype.itemsize), dtype)
    return values.reshape(shape).astype(data["dtype"])


def _count(data: list[Any]) -> int:
    """How many numbers nested lists hold; 0 if anything else is among them."""
    counts = [_count(v) if isinstance(v, list) else int(isinstance(v, float | int)) for v in data]
    return sum(counts) if all(counts) else 0


def _text(values: bytes) -> str:
    return base64.b64encode(zlib.compress(values)).decode("ascii")


def _bytes(text: str, length: int) -> bytes:
    """The bytes that `_text` wrote; ValueError if they are not as many as expected."""
    values = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), length + 1)
    if len(values) != length:
        raise ValueError
    return values
