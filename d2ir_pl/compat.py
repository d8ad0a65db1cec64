"""Every use of another library's private part, one function each.

What is private may change with any release. So these uses stand together, each says for which
versions it is known to hold, and `tests/unit/test_compat.py` tries each with the installed library
and names the function here that has to follow. What belongs to guided-diffusion stands in
`priors/guided_diffusion.py`, the only file that imports it.

All rooms may import this module, so it loads a library only when a function needs it.
"""

from __future__ import annotations

import argparse
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter


def cpu_computes_in_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 arithmetic on this CPU; False for builds without oneDNN.

    Known to hold for PyTorch 2.13. The public `torch.backends.mkldnn.is_available` tells only
    whether there is oneDNN.
    """
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except AttributeError:
        return False


def changes(tensor: Tensor) -> int:
    """How often a tensor was changed in place, which those of inference mode do not tell.

    Known to hold for PyTorch 2.13.
    """
    return tensor._version


@contextmanager
def watching_operations(watch: Callable[[list[Tensor], list[Tensor]], None]) -> Iterator[None]:
    """Call a function after every operation on tensors inside, those of backward passes too.

    Known to hold for PyTorch 2.13: `TorchDispatchMode` lies in a module with a private name.

    Args:
        watch: a function of the tensors that went into an operation, and of those that came out.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode

    def tensors(tree: Any) -> list[Tensor]:
        if isinstance(tree, list | tuple):
            return [tensor for branch in tree for tensor in tensors(branch)]
        return [tree] if isinstance(tree, Tensor) else []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(
            self,
            func: Callable[..., Any],
            _types: Any,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            output = func(*args, **(kwargs or {}))
            watch(tensors((*args, *(kwargs or {}).values())), tensors(output))
            return output

    with Watching():  # type: ignore[no-untyped-call]  # the constructor is PyTorch's
        yield


def set_timeout(strategy: DDPStrategy, timeout: timedelta) -> None:
    """Set how long the processes of a run may wait for each other.

    Known to hold for Lightning 2.6. The public way is an argument of `DDPStrategy`, which
    cannot be given where the user chooses the strategy by its name.
    """
    strategy._timeout = timeout


def callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    """The callbacks of a trainer, a list that can be added to.

    Known to hold for Lightning 2.6, where another class sets this attribute, so that type
    checkers do not know it.
    """
    found: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found


@contextmanager
def hyperparameters_unlogged(*parts: pl.LightningModule | pl.LightningDataModule) -> Iterator[None]:
    """Keep Lightning from handing the hyperparameters of modules and data to loggers itself.

    Known to hold for Lightning 2.6. The public way is an argument of `save_hyperparameters`, which
    whoever writes the class decides on.

    Args:
        parts: modules and data, whose settings the loggers get from the program.
    """
    before = [part._log_hyperparams for part in parts]
    for part in parts:
        part._log_hyperparams = False
    try:
        yield
    finally:
        for part, logs in zip(parts, before, strict=True):
            part._log_hyperparams = logs


def training_bar() -> pl.callbacks.RichProgressBar:
    """A bar that counts epochs from 1, and names the last one only where there is one.

    Known to hold for Lightning 2.6, whose own bar counts from 0 and says `Epoch 0/-2` where
    `max_epochs` is -1.
    """
    from pytorch_lightning.callbacks import RichProgressBar

    class TrainingBar(RichProgressBar):
        def _get_train_description(self, current_epoch: int) -> str:
            last = self.trainer.max_epochs
            text = f"Epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
            return f"{text:{len(self.validation_description)}}"

    return TrainingBar()


def set_epoch(checkpoint: dict[str, Any], length: int, epochs: int, batches: int) -> None:
    """Let a checkpoint of a training stand behind a batch of an epoch, all before it being done.

    Known to hold for Lightning 2.6, which restores its loops from these counters.

    Args:
        checkpoint: what `Trainer.save_checkpoint` has written; it is changed in place.
        length: number of batches in an epoch.
        epochs: number of epochs that are over.
        batches: number of batches since then.
    """
    begun, total = epochs + (batches > 0), epochs * length + batches
    counted = {"ready": begun, "started": begun, "processed": epochs, "completed": epochs}
    loop = checkpoint["loops"]["fit_loop"]
    loop["epoch_progress"] = {"total": counted, "current": dict(counted)}
    names = counted.keys()
    loop["epoch_loop.batch_progress"] = {
        "total": dict.fromkeys(names, total),
        "current": dict.fromkeys(names, batches),
        "is_last_batch": False,
    }


def started_processes(trainer: pl.Trainer) -> list[subprocess.Popen[bytes]]:
    """The processes that a trainer of Lightning 2.6 has started until now, in their order."""
    from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

    launcher = trainer.strategy.launcher
    return list(launcher.procs) if isinstance(launcher, _SubprocessScriptLauncher) else []


@contextmanager
def unobserved_processes() -> Iterator[None]:
    """Keep Lightning inside from killing this process where one that it has started fails.

    Known to hold for Lightning 2.6, whose launcher starts a thread for that by a function of its
    module.
    """
    from pytorch_lightning.strategies.launchers import subprocess_script

    before = subprocess_script._launch_process_observer
    subprocess_script._launch_process_observer = lambda child_processes: None  # noqa: ARG005
    try:
        yield
    finally:
        subprocess_script._launch_process_observer = before


def lost_connection(error: RuntimeError) -> bool:
    """Whether an error says that a process which this one waits for is no longer there.

    Known to hold for PyTorch 2.13, whose Gloo writes `Connection closed by peer` or
    `Connection reset by peer`, and whose NCCL and store raise `DistError`s.
    """
    from torch.distributed import DistError

    ended = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, DistError) or any(text in str(error) for text in ended)


def add_hparams(writer: SummaryWriter, settings: Mapping[str, Any]) -> None:
    """Write a session of TensorBoard's HPARAMS tab into the event file of a writer.

    Known to hold for PyTorch 2.13 with TensorBoard 2.18 to 2.21. The public
    `SummaryWriter.add_hparams` makes a writer and a folder of its own, and names the columns of
    the metrics.

    Args:
        writer: of the run that becomes the session.
        settings: numbers, truth values and strings by their names.
    """
    from torch.utils.tensorboard.summary import hparams

    _, start, end = hparams(dict(settings), {})
    for summary in (start, end):
        writer._get_file_writer().add_summary(summary)


@contextmanager
def quiet_event_writers() -> Iterator[None]:
    """Keep the threads that write TensorBoard's event files from printing tracebacks inside.

    What goes wrong in them, such as a full disk, is raised when the writer is flushed. Known to
    hold for TensorBoard 2.18 to 2.21, whose thread is of the class `_AsyncWriterThread`.
    """
    before = threading.excepthook

    def hook(arguments: Any) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def option_names(parser: argparse.ArgumentParser) -> list[str]:
    """The options that a parser knows, such as `--model.sigma_y`.

    Known to hold for Python 3.11 to 3.14, whose argparse has no public list of them.
    """
    return list(parser._option_string_actions)


def actions_with_values(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of a parser that take a value.

    Known to hold for Python 3.11 to 3.14.
    """
    return [action for action in parser._actions if action.nargs != 0]


def options_with_choices(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The options that a parser knows, each with the values that it may have, if these are few.

    jsonargparse shows such values as `{true,false}` in the help. Known to hold for Python 3.11 to
    3.14 and jsonargparse 4.52 and 4.53.
    """
    found = {}
    for name, action in parser._option_string_actions.items():
        shown = str(action.metavar or "")
        few = shown.startswith("{") and shown.endswith("}")
        found[name] = shown[1:-1].split(",") if few else []
    return found


def is_lazy_class(cls: type) -> bool:
    """Whether jsonargparse derived a class to delay construction, for `lazy_instance`.

    Known to hold for jsonargparse 4.52 and 4.53.
    """
    return cls.__name__.startswith("LazyInstance_")


@contextmanager
def own_defaults() -> Iterator[None]:
    """Let a class that replaces another start from its own defaults while options are parsed.

    jsonargparse hands on every option that the new class knows by the same name, so that the scale
    of one method would become that of the next. Known to hold for jsonargparse 4.52 and 4.53.
    """
    from jsonargparse import _typehints

    name = "discard_init_args_on_class_path_change"
    handed_on = getattr(_typehints, name)

    def forget(parser_or_action: Any, prev_val: Any, value: Any) -> None:
        handed_on(parser_or_action, prev_val, value)
        if not prev_val or "init_args" not in prev_val:
            return
        before, now = (_typehints.import_object(v["class_path"]) for v in (prev_val, value))
        if before is not now:
            for key in list(prev_val["init_args"].keys()):
                del prev_val["init_args"][key]

    setattr(_typehints, name, forget)
    try:
        yield
    finally:
        setattr(_typehints, name, handed_on)
