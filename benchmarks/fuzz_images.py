"""Damaged image files through the reader: every one has to be read or refused.

    python -m benchmarks.fuzz_images
    python -m benchmarks.fuzz_images --count 100000 --seed 1

Small PNG, JPEG and TIFF files of many kinds are changed in a few bytes, cut or repeated in part.
Prints how many were read and refused, and how much memory the reading process gained after its
first tenth. A file that crashes the process, raises anything but ImageError or takes longer than
`LIMIT` seconds is kept under --output, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from d2ir_pl.image_io import ImageError, image_size, read_image

LIMIT = 20
"""Seconds that reading one file may take."""

SHOWN = 20
"""Files that are kept and told of at most."""

MAX_PIXELS = 4_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PHOTO = Path(__file__).parent.parent / "examples" / "clean" / "chelsea.png"


def originals() -> dict[str, bytes]:
    """Kind -> contents; the kind begins with the format."""
    photo = Image.open(PHOTO).convert("RGB").resize((48, 36))
    rgb = np.asarray(photo)
    deep = (rgb.astype(np.float32) / 255 * 65535).astype(np.uint16)

    def pillow(image: Image.Image, format: str, **options: Any) -> bytes:
        stream = BytesIO()
        image.save(stream, format, **options)
        return stream.getvalue()

    def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
        stream = BytesIO()
        tifffile.imwrite(stream, pixels, **options)
        return stream.getvalue()

    def png16() -> bytes:
        import imagecodecs

        return bytes(imagecodecs.png_encode(deep))

    return {
        "PNG rgb": pillow(photo, "PNG"),
        "PNG grey": pillow(photo.convert("L"), "PNG"),
        "PNG alpha": pillow(photo.convert("RGBA"), "PNG"),
        "PNG palette": pillow(photo.quantize(16), "PNG", transparency=3),
        "PNG 1 bit": pillow(photo.convert("1"), "PNG"),
        "PNG 16 bit": png16(),
        "JPEG": pillow(photo, "JPEG", quality=80),
        "JPEG progressive": pillow(photo, "JPEG", progressive=True, subsampling=2),
        "JPEG grey": pillow(photo.convert("L"), "JPEG"),
        "JPEG cmyk": pillow(photo.convert("CMYK"), "JPEG"),
        "TIFF": tiff(rgb, photometric="rgb"),
        "TIFF lzw": tiff(rgb, photometric="rgb", compression="lzw", predictor=True),
        "TIFF deflate 16 bit": tiff(deep, photometric="rgb", compression="zlib"),
        "TIFF tiles": tiff(rgb, photometric="rgb", tile=(16, 16), compression="zstd"),
        "TIFF float": tiff(deep / np.float32(65535), photometric="rgb"),
        "TIFF jpeg": tiff(rgb, photometric="rgb", compression="jpeg"),
        "TIFF grey big": tiff(rgb[..., 0].copy(), bigtiff=True, byteorder=">"),
    }


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes overwritten, more often near the start; now and then a part cut or repeated."""
    result = bytearray(content)
    for _ in range(int(rng.geometric(0.3))):
        place = int(len(result) * rng.random() ** rng.choice([1, 3]))
        result[place : place + 1] = bytes([rng.choice([0, 1, 127, 128, 255, rng.integers(256)])])
    first, last = sorted(rng.integers(0, len(result), 2).tolist())
    what = rng.random()
    if what < 0.1:
        del result[first:]
    elif what < 0.2:
        del result[first:last]
    elif what < 0.3:
        result[first:first] = result[first:last]
    elif what < 0.35:
        result[first:last] = rng.bytes(last - first)
    if result[:8] == SIGNATURE and rng.random() < 0.7:
        return resealed(bytes(result))
    return bytes(result)


def resealed(png: bytes) -> bytes:
    """A PNG file whose checksums are right again, so that damage reaches the decoder."""
    parts, place = [png[:8]], 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        body = png[place + 4 : end]
        parts += [png[place : place + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        place = end + 4
    return b"".join(parts) + png[place:]


def files(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    kinds = originals()
    for i in range(count):
        kind = list(kinds)[i % len(kinds)]
        yield kind, mutated(kinds[kind], np.random.default_rng([seed, i]))


def memory() -> float:
    """Megabytes that this process has in memory."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


class Late(BaseException):
    """Not an Exception: the reader makes an ImageError of every one."""


def read_all(seed: int, start: int, count: int, results: Connection) -> None:
    """Read files from `start` on, and send (number, kind, outcome, memory) of each."""

    def late(*arguments: object) -> None:
        raise Late(f"longer than {LIMIT} s")

    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for i, (kind, content) in enumerate(files(seed, count)):
            if i < start:
                continue
            path.write_bytes(content)
            signal.alarm(LIMIT)
            outcome, photo = "read", None
            try:
                photo = read_image(path, max_pixels=MAX_PIXELS)
            except ImageError as error:
                # Decoders raise anything; what is wrong in the reader itself would be one of these.
                mistake = isinstance(error.__cause__, AssertionError | AttributeError | NameError)
                outcome = f"refused after {error.__cause__!r}" if mistake else "refused"
            except BaseException as error:
                outcome = f"{type(error).__name__}: {error}"
            signal.alarm(0)
            if photo is not None:
                try:
                    if photo.pixels.shape != (3, *image_size(path)):
                        outcome = "another size than its header says"
                except Exception as error:
                    outcome = f"read, but its size is refused: {error}"
            results.send((i, kind, outcome, memory()))
    results.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/fuzz"))
    options = parser.parse_args()
    context = multiprocessing.get_context("fork")
    outcomes: Counter[tuple[str, str]] = Counter()
    bad: list[tuple[int, str, str]] = []
    sizes: list[float] = []
    start = 0
    while start < options.count:
        receiver, sender = context.Pipe(duplex=False)
        arguments = (options.seed, start, options.count, sender)
        process = context.Process(target=read_all, args=arguments)
        process.start()
        sender.close()
        kinds = list(originals())
        try:
            while start < options.count:
                if not receiver.poll(3 * LIMIT):  # an alarm does not interrupt a decoder's C code
                    process.kill()
                i, kind, outcome, size = receiver.recv()
                start = i + 1
                sizes.append(size)
                if outcome not in ("read", "refused"):
                    bad.append((i, kind, outcome))
                    outcome = "wrong"
                outcomes[kind.split()[0], outcome] += 1
        except EOFError:
            process.join()
            kind = kinds[start % len(kinds)]
            bad.append((start, kind, f"the process ended with {process.exitcode}"))
            outcomes[kind.split()[0], "wrong"] += 1
            start += 1
        process.join()
    print("| format | files | read | refused | anything else |")
    print("|---|---|---|---|---|")
    for format in ("PNG", "JPEG", "TIFF"):
        row = [outcomes[format, outcome] for outcome in ("read", "refused", "wrong")]
        print(f"| {format} | {sum(row)} | {row[0]} | {row[1]} | {row[2]} |")
    if len(sizes) > 10:
        before, after = sizes[len(sizes) // 10], sizes[-1]
        print(f"\nmemory after a tenth {before:.0f} MB, at the end {after:.0f} MB")
    contents = list(files(options.seed, options.count)) if bad else []
    for i, kind, outcome in bad[:SHOWN]:
        options.output.mkdir(parents=True, exist_ok=True)
        path = options.output / f"{i}-{kind.replace(' ', '-')}"
        path.write_bytes(contents[i][1])
        print(f"{path}: {outcome}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
