"""Photos in and out: image files to tensors in [-1, 1], and such tensors to PNG files."""

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.jpeg import FileTables
from d2ir_pl.image_io.photo import Photo
from d2ir_pl.image_io.pictures import as_picture, eight_bits, enlarged, resized
from d2ir_pl.image_io.png import is_draft, write_png
from d2ir_pl.image_io.reading import EXTENSIONS, MAX_PIXELS, image_size, read_image

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "FileTables",
    "ImageError",
    "Photo",
    "as_picture",
    "eight_bits",
    "enlarged",
    "image_size",
    "is_draft",
    "read_image",
    "resized",
    "write_png",
]
