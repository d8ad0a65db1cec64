"""Randomness that belongs to one image: its generators, and the noise that they draw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def image_generator(seed: int, name: str, stream: str = "restore") -> Generator:
    """A CPU generator that depends on the run's seed and the image's name alone.

    The same image therefore draws the same noise alone, in a batch, and on any process.

    Args:
        seed: seed of the run.
        name: path of the image relative to the input folder.
        stream: purpose of the noise, `restore` or `degrade`; each has a stream of its own.
    """
    text = f"{seed}\0{stream}\0{name}".encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def normal_like(x: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Standard normal noise of x's shape; row b comes from `generators[b]`.

    Args:
        x: `(B, ...)` tensor whose shape, dtype and device the noise takes.
        generators: one CPU generator for each of the B rows.
    """
    rows = [torch.randn(x.shape[1:], generator=g, dtype=torch.float32) for g in generators]
    drawn = torch.stack(rows).to(x.dtype)
    if x.device.type != "cuda":
        return drawn.to(x.device)
    # From pinned memory it is copied while the device computes, and nobody waits.
    return drawn.pin_memory().to(x.device, non_blocking=True)


def same_generator(generator: Generator) -> Generator:
    """A generator that draws what this one will draw, and leaves it as it is."""
    copy = Generator()
    copy.set_state(generator.get_state())
    return copy
