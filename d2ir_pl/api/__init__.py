"""Restoration of images in three lines of Python, without Lightning."""

from d2ir_pl.api.function import restore
from d2ir_pl.api.restored import Restored

__all__ = ["Restored", "restore"]
