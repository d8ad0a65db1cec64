"""Widths of blurs that can be measured; a module without PyTorch, for what only reads results."""

MIN_WIDTH, MAX_WIDTH = 0.3, 6.0
"""Widths in pixels that a spectrum can tell from a sharp image, and from pure noise."""
