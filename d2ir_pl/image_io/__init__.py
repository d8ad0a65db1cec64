"""Photos in and out: files, PIL images and arrays to tensors in [-1, 1], and back; PNG files."""

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.apart import read_apart, sizes_apart
from d2ir_pl.image_io.arrays import from_array, from_tensor, to_array, to_tensor
from d2ir_pl.image_io.colour import in_srgb, profile_of, srgb_picture, srgb_pixels
from d2ir_pl.image_io.jpeg import FileTables
from d2ir_pl.image_io.metadata import Metadata
from d2ir_pl.image_io.photo import Photo, Stored
from d2ir_pl.image_io.pictures import as_picture, eight_bits, enlarged, resized
from d2ir_pl.image_io.pillow import from_pillow, to_pillow
from d2ir_pl.image_io.png import is_draft, write_png
from d2ir_pl.image_io.reading import EXTENSIONS, image_size, read_image
from d2ir_pl.image_io.writing import SUFFIXES, Format, Output, format_of, write_photo
from d2ir_pl.schema import MAX_PIXELS

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "SUFFIXES",
    "FileTables",
    "Format",
    "ImageError",
    "Metadata",
    "Output",
    "Photo",
    "Stored",
    "as_picture",
    "eight_bits",
    "enlarged",
    "format_of",
    "from_array",
    "from_pillow",
    "from_tensor",
    "image_size",
    "in_srgb",
    "is_draft",
    "profile_of",
    "read_apart",
    "read_image",
    "resized",
    "sizes_apart",
    "srgb_picture",
    "srgb_pixels",
    "to_array",
    "to_pillow",
    "to_tensor",
    "write_photo",
    "write_png",
]
