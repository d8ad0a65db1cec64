"""Damaged image files through the reader: every one has to be read or refused.

    python -m benchmarks.fuzz_images
    python -m benchmarks.fuzz_images --count 100000 --seed 1

Small files of all formats that are read are changed in a few bytes, cut or repeated in part.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from benchmarks import tables
from benchmarks.kept import dng
from d2ir_pl.image_io import ImageError, image_size, read_image

LIMIT = 20
"""Seconds that reading one file may take."""

_SHOWN = 20
"""Largest number of files that are kept and reported."""

_MAX_PIXELS = 4_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PHOTO = Path(__file__).parent.parent / "examples" / "clean" / "chelsea.png"


def originals() -> dict[str, bytes]:
    """The contents of intact files, by their kind, which begins with the format."""
    photo = Image.open(_PHOTO).convert("RGB").resize((48, 36))
    rgb = np.asarray(photo)
    deep = (rgb.astype(np.float32) / 255 * 65535).astype(np.uint16)

    def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
        stream = BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
        stream = BytesIO()
        tifffile.imwrite(stream, pixels, **options)
        return stream.getvalue()

    return {
        "PNG rgb": pillow(photo, "PNG"),
        "PNG grey": pillow(photo.convert("L"), "PNG"),
        "PNG alpha": pillow(photo.convert("RGBA"), "PNG"),
        "PNG palette": pillow(photo.quantize(16), "PNG", transparency=3),
        "PNG 1 bit": pillow(photo.convert("1"), "PNG"),
        "PNG 16 bit": bytes(imagecodecs.png_encode(deep)),
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
        "WebP": pillow(photo, "WEBP", quality=80),
        "WebP exact": pillow(photo.convert("RGBA"), "WEBP", lossless=True),
        "WebP animated": pillow(photo, "WEBP", save_all=True, append_images=[photo.rotate(9)]),
        "AVIF": pillow(photo, "AVIF", quality=80),
        "GIF": pillow(photo.quantize(16), "GIF"),
        "BMP": pillow(photo, "BMP"),
        "PNM": pillow(photo, "PPM"),
        "PNM 16 bit": b"P6 48 36 65535\n" + deep.astype(">u2").tobytes(),
        "PNM text": b"P3 48 36 999\n" + b" ".join(b"%d" % v for v in rgb.flatten()),
        "PNM floats": b"PF 48 36 -1.0\n" + (deep / np.float32(65535)).tobytes(),
        "PNM arbitrary": b"P7\nWIDTH 48\nHEIGHT 36\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + rgb.tobytes(),
        "JXL": bytes(imagecodecs.jpegxl_encode(rgb, level=90)),
        "JXL exact": bytes(imagecodecs.jpegxl_encode(deep, lossless=True)),
        **_of_the_extra(photo, rgb),
    }


def _of_the_extra(photo: Image.Image, rgb: NDArray[Any]) -> dict[str, bytes]:
    """Files that the extra `photos` reads, where it is installed."""
    try:
        import pillow_heif
        import rawpy  # noqa: F401
    except ImportError:
        return {}
    stream = BytesIO()
    pillow_heif.from_pillow(photo).save(stream, quality=80)
    with TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.dng"
        dng(raw, rgb / 255.0)
        return {"HEIC": stream.getvalue(), "RAW": raw.read_bytes()}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy of a file.

    A few bytes are overwritten, more often near the start; now and then a part is cut or repeated.
    """
    result = bytearray(content)
    for _ in range(int(rng.geometric(0.3))):
        place = int(len(result) * rng.random() ** rng.choice([1, 3]))
        result[place] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
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
    if result[:8] == _SIGNATURE and rng.random() < 0.7:
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
    """The kinds and contents of damaged files, the same for the same seed."""
    kinds = originals()
    for i in range(count):
        kind = list(kinds)[i % len(kinds)]
        yield kind, mutated(kinds[kind], np.random.default_rng([seed, i]))


def memory() -> float:
    """What this process has in memory, in MB."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


class LateError(BaseException):
    """Reading takes too long.

    It is not an Exception, because the reader makes an ImageError of every one of those.
    """


def read_all(seed: int, start: int, count: int, results: Connection) -> None:
    """Read files, and send (number, kind, outcome, memory in MB) of each.

    Args:
        seed: seed of the files.
        start: number of the first file to read.
        count: number of files in all.
        results: where the results are sent.
    """

    def late(*_: object) -> None:
        raise LateError(f"longer than {LIMIT} s")

    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        for i, (kind, content) in enumerate(files(seed, count)):
            if i < start:
                continue
            # The name tells a raw file from a TIFF file.
            path = Path(folder) / ("file.dng" if kind == "RAW" else "file")
            path.write_bytes(content)
            results.send((i, kind, _outcome(path), memory()))
    results.close()


def _outcome(path: Path) -> str:
    """`read`, `refused`, or what went wrong."""
    signal.alarm(LIMIT)
    try:
        photo = read_image(path, max_pixels=_MAX_PIXELS)
    except ImageError as error:
        # Decoders raise anything; what is wrong in the reader itself would be one of these.
        mistake = isinstance(error.__cause__, AssertionError | AttributeError | NameError)
        return f"refused after {error.__cause__!r}" if mistake else "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    try:
        same = photo.pixels.shape == (3, *image_size(path))
    except Exception as error:
        return f"read, but its size is refused: {error}"
    return "read" if same else "another size than its header says"


@dataclass
class Tally:
    """What became of the files.

    Attributes:
        outcomes: number of files, by (format, `read`, `refused` or `wrong`).
        wrong: (number, kind, what went wrong) of files that were neither read nor refused.
        sizes: memory of the reading process in MB after each file.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[tuple[int, str, str]] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def add(self, number: int, kind: str, outcome: str) -> None:
        """Count a file."""
        if outcome not in ("read", "refused"):
            self.wrong.append((number, kind, outcome))
            outcome = "wrong"
        self.outcomes[kind.split()[0], outcome] += 1


def read_in_processes(seed: int, count: int) -> Tally:
    """Read files in a process, and the rest in another one if it crashes."""
    context = multiprocessing.get_context("fork")
    kinds = list(originals())
    tally = Tally()
    start = 0
    while start < count:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=read_all, args=(seed, start, count, sender))
        process.start()
        sender.close()
        try:
            while start < count:
                if not receiver.poll(3 * LIMIT):  # an alarm does not interrupt a decoder's C code
                    process.kill()
                number, kind, outcome, size = receiver.recv()
                start = number + 1
                tally.sizes.append(size)
                tally.add(number, kind, outcome)
        except EOFError:
            process.join()
            kind = kinds[start % len(kinds)]
            tally.add(start, kind, f"the process ended with {process.exitcode}")
            start += 1
        process.join()
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Read files with the arguments of the command line; the exit status is 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/fuzz"))
    options = parser.parse_args(arguments)
    tally = read_in_processes(options.seed, options.count)
    print(tables.head("format", "files", "read", "refused", "anything else"))
    for kind in sorted({kind for kind, _ in tally.outcomes}):
        counts = [tally.outcomes[kind, outcome] for outcome in ("read", "refused", "wrong")]
        print(tables.row(kind, sum(counts), *counts))
    if len(sizes := tally.sizes) > 10:
        before, after = sizes[len(sizes) // 10], sizes[-1]
        print(f"\nmemory after a tenth {before:.0f} MB, at the end {after:.0f} MB")
    contents = list(files(options.seed, options.count)) if tally.wrong else []
    for number, kind, outcome in tally.wrong[:_SHOWN]:
        options.output.mkdir(parents=True, exist_ok=True)
        path = options.output / f"{number}-{kind.replace(' ', '-')}"
        path.write_bytes(contents[number][1])
        print(f"{path}: {outcome}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
