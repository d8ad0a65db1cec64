"""The quantiser of a picture of HEVC, from its parameter sets and the header of its first slice.

Source: ITU-T H.265, sections 7.3.2.2 (SPS), 7.3.2.3 (PPS), 7.3.3 and 7.3.6.1 (slice header);
ISO/IEC 14496-15, section 8.3.2 (`hvcC`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

SPS, PPS = 33, 34
_SLICES, _IDR = 32, (19, 20)
"""Kinds of units below which all are slices, and those of a picture that needs no other."""
_INTRA = 2
_READ = 256
"""Bytes that are read of a unit, at most."""
_MOST_UNITS = 64
"""Units that are passed over before the first slice, at most."""


class _Bits:
    """Reads numbers from the bytes of a unit, without those that keep it free of start codes."""

    def __init__(self, unit: bytes) -> None:
        data = unit[:_READ].replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def number(self, count: int = 1) -> int:
        """The next number of so many bits."""
        if count > self._left:
            raise ValueError("is truncated")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """The next number in Exp-Golomb code."""
        zeros = 0
        while not self.number():
            zeros += 1
            if zeros > 32:
                raise ValueError("has a number that is too large")
        return (1 << zeros) - 1 + self.number(zeros)

    def signed(self) -> int:
        """The next number with a sign in Exp-Golomb code."""
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)

    def skip(self, count: int) -> None:
        """Pass over numbers in Exp-Golomb code."""
        for _ in range(count):
            self.golomb()


@dataclass(frozen=True)
class Coding:
    """What the parameter sets in a box `hvcC` say.

    Attributes:
        length: bytes of the number before each unit that says how long it is.
        planes: whether each colour is a picture of its own.
        grey: whether there is no colour.
        offsets: whether slices say whether they add offsets to their samples.
        output: whether slices say whether they are shown.
        extra: bits in the header of a slice that have no meaning yet.
        quantiser: quantiser of a picture before its slices change it.
    """

    length: int
    planes: bool
    grey: bool
    offsets: bool
    output: bool
    extra: int
    quantiser: int

    @classmethod
    def read(cls, box: bytes) -> Coding:
        """Read the contents of a box `hvcC`.

        Raises:
            ValueError: if it is damaged, or its steps differ between frequencies.
        """
        if len(box) < 23:
            raise ValueError("is truncated")
        units = _sets(box)
        planes, grey, offsets = _sequence(_Bits(units[SPS]))
        bits = _Bits(units[PPS])
        bits.number(16)
        bits.skip(2)
        bits.number()
        output, extra = bool(bits.number()), bits.number(3)
        bits.number(2)
        bits.skip(2)
        return cls(box[21] % 4 + 1, planes, grey, offsets, output, extra, 26 + bits.signed())

    def of_picture(self, data: bytes) -> int:
        """The quantiser of a picture, 0 to 51.

        Args:
            data: its first bytes, which are units behind their lengths.

        Raises:
            ValueError: if they hold no slice of a picture that stands by itself.
        """
        place = 0
        for _ in range(_MOST_UNITS):
            start = place + self.length
            if start + 2 > len(data):
                break
            kind = data[start] >> 1 & 63
            if kind < _SLICES:
                return self._of_slice(kind, data[start : start + _READ])
            place = start + int.from_bytes(data[place:start])
        raise ValueError("has no slice")

    def _of_slice(self, kind: int, unit: bytes) -> int:
        bits = _Bits(unit)
        bits.number(16)
        first = bits.number()
        if kind not in _IDR or not first:
            raise ValueError("is no picture that stands by itself")
        bits.number()
        bits.golomb()
        bits.number(self.extra)
        if bits.golomb() != _INTRA:
            raise ValueError("is no picture that stands by itself")
        bits.number(self.output + 2 * self.planes)
        if self.offsets:
            bits.number(1 if self.grey or self.planes else 2)
        quantiser = self.quantiser + bits.signed()
        if not 0 <= quantiser <= 51:
            raise ValueError("has no such quantiser")
        return quantiser


def _sets(box: bytes) -> dict[int, bytes]:
    """The first unit of each kind in a box `hvcC`.

    Raises:
        ValueError: if one is missing.
    """
    found: dict[int, bytes] = {}
    place = 23
    for _ in range(box[22]):
        kind, count = box[place] & 63 if place < len(box) else 0, box[place + 1 : place + 3]
        place += 3
        for _ in islice(range(int.from_bytes(count)), _MOST_UNITS):
            length = int.from_bytes(box[place : place + 2])
            found.setdefault(kind, box[place + 2 : place + 2 + length])
            place += 2 + length
    if not {SPS, PPS} <= found.keys():
        raise ValueError("has no parameters")
    return found


def _sequence(bits: _Bits) -> tuple[bool, bool, bool]:
    """Whether colours are pictures of their own, there are none, and slices have offsets."""
    bits.number(16 + 4)
    layers = bits.number(3)
    bits.number(1 + 96)
    present = [(bits.number(), bits.number()) for _ in range(layers)]
    bits.number(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.number(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    planes = chroma == 3 and bool(bits.number())
    bits.skip(2)
    bits.skip(4 * bits.number())
    bits.skip(3)
    bits.skip(3 * (layers + 1 if bits.number() else 1))
    bits.skip(6)
    if bits.number():
        raise ValueError("has a step for each frequency")
    bits.number()
    return planes, chroma == 0, bool(bits.number())
