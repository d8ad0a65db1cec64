"""Blind image restoration with a pretrained diffusion prior (D2IR)."""

from d2ir_pl.api import restore

__version__ = "0.1.0"

__all__ = ["__version__", "restore"]
