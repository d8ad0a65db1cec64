"""The restoration of one visitor's photo, watched from the page and stopped by it."""

from __future__ import annotations

import io
import logging
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
import yaml
from PIL import Image
from rich.console import Console
from torch import Tensor

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.console import quiet
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io import ImageError, as_picture, read_image
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.run import run
from d2ir_pl.restoration import Step
from d2ir_pl.restoration.configs import configs_folder
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import warnings

logger = logging.getLogger(__name__)

SHOWN = 512
"""Longest side in pixels of what is shown on the way."""

_worker = threading.Lock()
"""Held by the restoration that is computing: a stopped one may still be in its last step."""


class StoppedError(Exception):
    """The visitor has stopped the restoration, or left."""


class RefusedError(Exception):
    """The photo cannot be restored; the message is one sentence for the visitor."""


@dataclass(frozen=True)
class Order:
    """What a visitor asks for.

    Attributes:
        photo: the uploaded file.
        task: a shipped config, or `auto`.
        preset: a shipped config on top of it, such as `fast`; empty for none.
        sigma_y: noise in [0, 1]; estimated if None.
        seed: of the noise that is drawn.
    """

    photo: Path
    task: str
    preset: str = ""
    sigma_y: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class View:
    """The restoration at a step: a line of text, x0, and what the degradation looks like."""

    text: str
    image: Image.Image
    picture: Image.Image | None


class Job:
    """Restores a photo in a thread of its own, exactly as `predict` does.

    Args:
        order: what is asked for.
        folder: an empty folder for everything about it.
        options: further options of `predict`, `--model.prior` among them.
        max_pixels: the most pixels of a photo.
    """

    def __init__(self, order: Order, folder: Path, options: list[str], max_pixels: int) -> None:
        self.order = order
        self.name = order.photo.name
        self.results = ResultFolder(folder / "results")
        self.reasons: tuple[str, ...] = ()
        self.folder = folder
        self._options = options
        self._prior = options[options.index("--model.prior") + 1]
        self._max_pixels = max_pixels
        self._stopped = threading.Event()
        self._views: queue.SimpleQueue[View | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._module: RestorationModule | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._unwanted = False
        self.begun = time.monotonic()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def discard(self) -> None:
        """Stop, and delete everything about it as soon as nothing writes there any more."""
        self.stop()
        self._unwanted = True
        if not self.running:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """End at the next step."""
        self._stopped.set()

    def watch(self) -> Iterator[View]:
        """Restore, and show it on the way; leaving the iterator stops the restoration.

        Raises:
            RefusedError, StoppedError: if there is no result.
        """
        self._thread.start()
        try:
            while (view := self._views.get()) is not None:
                yield view
        finally:
            self.stop()
            self._thread.join()
            if self._unwanted:
                self.discard()
        if self._unwanted:
            raise StoppedError
        if self._error is not None:
            raise self._error

    def record(self) -> Record:
        """What became of the photo."""
        return self.results.records(self.results.names())[0]

    def summary(self) -> str:
        """A line about the result."""
        record = self.record()
        text = f"Restored {record.width}x{record.height} pixels in {record.seconds:.0f} s."
        if record.residual_over_sigma is not None:
            text += f" {record.residual_over_sigma:.2f} times the noise is left unexplained."
        found = (f"{warning[:1].upper()}{warning[1:]}." for warning in warnings(record))
        return " ".join([text, *found])

    def before_and_after(self) -> tuple[Image.Image, Image.Image]:
        """Pictures of one size: the photo, and what became of it."""
        name = self.record().name
        before = Image.open(self.results.preview(name))
        after = _picture(read_image(self.results.restored(name)).pixels, before.size)
        return before, after

    def degradation(self) -> Image.Image | None:
        """What the degradation looks like; None if it has no picture."""
        path = self.results.picture(self.record().name)
        if not path.is_file():
            return None
        return _enlarged((read_image(path).pixels[0] + 1) / 2)

    def downloads(self) -> list[Path]:
        """The restored picture, the settings that repeat it, and the report."""
        name = self.record().name
        stem = Path(self.name).stem
        folder = self.folder / "download"
        folder.mkdir(exist_ok=True)
        picture, settings = folder / f"{stem}-restored.png", folder / f"{stem}.yaml"
        shutil.copyfile(self.results.restored(name), picture)
        settings.write_text(self.settings(), encoding="utf-8")
        # The report shows the settings, in which files of the server are named.
        page = self.results.report.read_text(encoding="utf-8")
        report = folder / f"{stem}-report.html"
        report.write_text(self._without_paths(page), encoding="utf-8")
        return [picture, settings, report]

    def settings(self) -> str:
        """A config of `predict` that gives the same result for the same photo."""
        config = yaml.safe_load((self.results.root / "config.yaml").read_text(encoding="utf-8"))
        kept = {key: config[key] for key in ("seed", "model")}
        kept["trainer"] = {"precision": self.record().precision}
        lines = [f"# How the photo {self.name!r} was restored; its noise depends on that name."]
        lines += [f"#   {reason}" for reason in self.reasons]
        lines += [
            "#   python cli.py predict --config THIS_FILE --data.inputs PHOTO --output results"
        ]
        text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
        return "\n".join(lines) + "\n" + self._without_paths(text)

    def _run(self) -> None:
        try:
            with _worker:
                self._restore()
        except (ImageError, UsageError) as error:  # of the photo, or what is asked for
            self._error = RefusedError(self._without_paths(str(error)))
        except StoppedError as error:
            self._error = error
        except Exception as error:
            # The visitor cannot help it, and need not know what files there are.
            logger.exception("a restoration failed")
            self._error = RefusedError(
                f"the server failed ({type(error).__name__}): try again later"
            )
        finally:
            self._module = None
            self._views.put(None)

    def _without_paths(self, text: str) -> str:
        """Names of the server's files without the folders in which they lie."""
        paths = (self.order.photo, self.folder / "-", Path(self._prior))
        folders = {str(path.parent) for path in paths if len(path.parts) > 1}
        for folder in sorted(folders, key=len, reverse=True):  # one may lie in another
            text = text.replace(f"{folder}/", "")
        return text

    def _restore(self) -> None:
        if self._stopped.is_set():
            raise StoppedError
        if not self.order.photo.is_file():
            raise ImageError("the photo is no longer here: drop it again")
        config = self._config()
        inputs = self.folder / "inputs" / self.name
        inputs.parent.mkdir()
        shutil.copyfile(self.order.photo, inputs)
        arguments = ["--config", str(config)]
        if self.order.preset and _has_stages(config):
            arguments += ["--config", self.order.preset]
        if self.order.sigma_y is not None:
            arguments += ["--model.sigma_y", str(self.order.sigma_y)]
        arguments += ["--seed", str(self.order.seed), "--data.inputs", str(inputs)]
        arguments += ["--output", str(self.results.root), "--tensorboard", "false"]
        with quiet():
            cli = parse_options([*arguments, *self._options])
            self._module = cli.model
            run(
                cli.model,
                cli.datamodule,
                cli.trainer,
                cli.run_settings(),
                [self._observe],
                Console(file=io.StringIO()),
            )
        if self._stopped.is_set():
            raise StoppedError
        record = self.record()
        if record.status != "restored":
            raise ImageError(f"{self.name}: {record.reason}")

    def _config(self) -> Path:
        """The config of the task, or the one that is proposed for the photo."""
        photo = read_image(self.order.photo, max_pixels=self._max_pixels)
        if self.order.task != "auto":
            return configs_folder() / f"{self.order.task}.yaml"
        proposal = propose(photo.pixels, photo.tables, self.order.sigma_y)
        self.reasons = proposal.reasons
        file = self.folder / "proposed.yaml"
        file.write_text(yaml.safe_dump(proposal.settings()), encoding="utf-8")
        return file

    def _observe(self, step: Step) -> None:
        if self._stopped.is_set():
            raise StoppedError
        if not self._views.empty():  # the page has not shown the last one yet
            return
        assert self._module is not None
        picture = self._module.degradation.picture(step.phi)
        noises = float(step.residual_over_sigma[0])
        sample = f"sample {step.sample + 1} of {step.num_samples}, " * (step.num_samples > 1)
        self._views.put(
            View(
                f"{sample}{step.stage}, step {step.index + 1} of {step.total}: "
                f"{noises:.2f} times the noise is unexplained",
                _small(step.x0()[0]),
                None if picture is None else _enlarged(picture[0]),
            )
        )


def _has_stages(config: Path) -> bool:
    """Whether a config is for D2IR, whose settings presets change."""
    model = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]
    return str(model.get("method", {}).get("class_path", "D2IR")).endswith("D2IR")


def _small(x0: Tensor) -> Image.Image:
    scale = min(1.0, SHOWN / max(x0.shape[-2:]))
    return _picture(x0, tuple(max(1, round(n * scale)) for n in reversed(x0.shape[-2:])))


def _picture(x: Tensor, size: tuple[int, ...]) -> Image.Image:
    """`(3, H, W)` in [-1, 1] at a width and height."""
    x = F.interpolate(x[None].float(), size[::-1], mode="bilinear", antialias=True)[0]
    return as_picture(x)


def _enlarged(picture: Tensor) -> Image.Image:
    """A kernel or map with pixels that one can see."""
    image = Image.fromarray((picture.clamp(0, 1) * 255).round().byte().cpu().numpy())
    factor = max(1, 210 // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
