"""Blind image restoration with a pretrained diffusion prior (D2IR)."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["Restored", "__version__", "restore"]

if TYPE_CHECKING:
    from d2ir_pl.api import Restored, restore
else:

    def __getattr__(name: str) -> object:
        """Import what restores an image, and PyTorch with it, only where it is used."""
        if name in ("Restored", "restore"):
            from d2ir_pl import api

            return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
