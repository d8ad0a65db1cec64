"""Estimates from a photo alone: its noise, the width and kernel of its blur, its JPEG tables."""
