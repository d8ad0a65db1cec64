"""Colour spaces: as ICC profiles, and as pictures in sRGB for the eye."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from d2ir_pl.image_io.photo import Photo
from d2ir_pl.image_io.pictures import as_picture
from d2ir_pl.image_io.png import profile_that_fits

Matrix = NDArray[np.float64]
Primaries = tuple[tuple[float, ...], ...]
BT601 = (0.299, 0.587, 0.114)
"""Luma of R'G'B' values (ITU-R BT.601, section 2.5.1), which most programs convert with."""
_SRGB_GAMMA = 0.45455
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D65 = (0.3127, 0.3290)
_PRIMARIES: dict[int, Primaries] = {
    1: (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities of white, red, green and blue, by their numbers in ITU-T H.273, table 2."""
_SRGB_PRIMARIES = _PRIMARIES[1]
_SAMPLES = 1024
_REFERENCE_WHITE = 203.0
"""Luminance in cd/m2 of a white sheet in a photo for HDR screens (ITU-R BT.2408)."""


def _srgb(v: Matrix) -> Matrix:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _pq(v: Matrix) -> Matrix:
    """ITU-R BT.2100, table 4, in units of the white of a sheet."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = v ** (1 / m2)
    light: Matrix = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light * (10000 / _REFERENCE_WHITE)


def _hlg(v: Matrix) -> Matrix:
    """ITU-R BT.2100, table 5, in units of the white of a sheet, which has the signal 0.75."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    white = (np.exp((0.75 - c) / a) + b) / 12
    return np.asarray(light / white)


_TRANSFERS: dict[int, Callable[[Matrix], Matrix]] = {
    **dict.fromkeys((1, 6, 13, 14, 15), _srgb),
    4: lambda v: v**2.2,
    5: lambda v: v**2.8,
    8: lambda v: v,
    16: _pq,
    18: _hlg,
}
"""Light for a value in [0, 1], by the numbers of ITU-T H.273, table 3."""


def profile_of(photo: Photo) -> bytes | None:
    """The ICC profile of a photo's colours, made of the chunks of a PNG file where it has no other.

    None where the photo is in sRGB, or its profile is for another number of channels.
    """
    if photo.icc_profile is not None:
        return profile_that_fits(photo.icc_profile, photo.grey)
    chunks = dict(photo.metadata.colour)
    try:
        if (code := chunks.get(b"cICP")) is not None and code[0] in _PRIMARIES:
            primaries, light = _PRIMARIES[code[0]], _TRANSFERS[code[1]]
            if primaries == _SRGB_PRIMARIES and light is _srgb:
                return None
        elif b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & chunks.keys():
            return None
        else:
            gamma = struct.unpack(">I", chunks.get(b"gAMA", struct.pack(">I", 45455)))[0] / 1e5
            light = _srgb if abs(gamma - _SRGB_GAMMA) < 1e-4 else lambda v: v ** (1 / gamma)
            primaries = _SRGB_PRIMARIES
            if b"cHRM" in chunks:
                values = np.array(struct.unpack(">8I", chunks[b"cHRM"])) / 1e5
                primaries = tuple(map(tuple, values.reshape(4, 2)))
            if np.allclose(primaries, _SRGB_PRIMARIES, atol=2e-3) and light is _srgb:
                return None
        return _profile(light, primaries, photo.grey)
    except (LookupError, ValueError, ArithmeticError, struct.error, np.linalg.LinAlgError):
        return None


def srgb_picture(pixels: Tensor, photo: Photo) -> Image.Image:
    """An image in the colours of a photo as a picture to look at, in sRGB.

    Args:
        pixels: `(3, h, w)` in [-1, 1].
        photo: photo whose colour space they are in.
    """
    return in_srgb(as_picture(pixels), profile_of(photo))


def srgb_pixels(pixels: Tensor, photo: Photo) -> Tensor:
    """The same as `srgb_picture` in [-1, 1]; where the photo is in sRGB, the pixels themselves.

    Args:
        pixels: `(3, h, w)` in [-1, 1].
        photo: photo whose colour space they are in.
    """
    if profile_of(photo) is None:
        return pixels
    shown = torch.from_numpy(np.array(srgb_picture(pixels, photo))).permute(2, 0, 1)
    return (shown.to(pixels) / 127.5 - 1).contiguous()


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture in RGB, converted to sRGB where it has another colour space.

    Args:
        picture: the picture.
        profile: ICC profile of its colours, three or, where they are all grey, one; None for sRGB.
    """
    if profile is None:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        grey = profile[16:20] == b"GRAY"
        found = ImageCms.profileToProfile(
            picture.convert("L") if grey else picture, source, target, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # nothing can be made of the profile
        return picture
    return picture if found is None else found


def _profile(light: Callable[[Matrix], Matrix], primaries: Primaries, grey: bool) -> bytes:
    """A profile of one curve and three primaries, of version 2.

    Source: ICC.1:2001-04, section 6.
    """
    values = np.clip(light(np.linspace(0, 1, _SAMPLES)), 0, 1)
    curve = b"curv" + struct.pack(">II", 0, _SAMPLES)
    curve += np.rint(values * 65535).astype(">u2").tobytes()
    text = b"made from the colour chunks of a PNG file\0"
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"no copyright\0",
        b"wtpt": _xyz(_D50),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        columns = _colourants(primaries).T
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
            tags[name] = _xyz(column)
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    known: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in known:
            known[data] = place + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", known[data], len(data))
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"none", 0x02400000, b"mntr", b"", b"XYZ ")
    head = head[:16] + (b"GRAY" if grey else b"RGB ") + head[20:]
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def _colourants(primaries: Primaries) -> Matrix:
    """The columns X, Y, Z of the primaries, adapted to the white of profiles."""
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries)
    matrix = np.stack(colours, 1)
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: Matrix = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ matrix
    return adapted


def _xyz(values: Matrix) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(v) * 65536) for v in values))
