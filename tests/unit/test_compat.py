"""Each use of another library's private part, tried with the installed library."""

import argparse
import ast
import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import DDPStrategy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

import d2ir_pl
from d2ir_pl import compat
from d2ir_pl.console import quiet

PACKAGE = Path(d2ir_pl.__file__).parent


@contextmanager
def reaching(library: str, what: str, name: str) -> Iterator[None]:
    """Fail with a sentence that names the function to mend, whatever goes wrong inside."""
    sentence = f"{library} {version(library)} no longer has {what}: see {name}"
    try:
        yield
    except (AttributeError, ImportError, TypeError, LookupError, AssertionError) as error:
        pytest.fail(f"{sentence} ({type(error).__name__}: {error})")


def test_torch_tells_whether_the_cpu_has_bfloat16() -> None:
    what = "torch.ops.mkldnn._is_mkldnn_bf16_supported"
    with reaching("torch", what, "compat.cpu_computes_in_bfloat16"):
        if torch.backends.mkldnn.is_available():
            assert torch.ops.mkldnn._is_mkldnn_bf16_supported() in (True, False)
        assert compat.cpu_computes_in_bfloat16() in (True, False)


def test_torch_tells_how_often_a_tensor_was_changed() -> None:
    with reaching("torch", "Tensor._version", "compat.changes"):
        weight = torch.ones(3)
        before = compat.changes(weight)
        weight.mul_(2)
        assert compat.changes(weight) > before


def test_torch_tells_of_operations_and_their_backward_passes() -> None:
    weight = torch.ones(3, requires_grad=True)
    seen: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
    with reaching("torch", "TorchDispatchMode", "compat.watching_operations"):
        with compat.watching_operations(lambda inputs, outputs: seen.append((inputs, outputs))):
            loss = (2 * weight).sum()
            forward = len(seen)
            loss.backward()
        assert forward == 2
        assert torch.equal(seen[0][0][0], weight)
        assert torch.equal(seen[0][1][0], 2 * weight)
        assert len(seen) > forward
        after = len(seen)
        _ = weight + 1
        assert len(seen) == after


def test_lightning_takes_a_timeout_after_its_strategy_is_made() -> None:
    with reaching("pytorch-lightning", "DDPStrategy._timeout", "compat.set_timeout"):
        strategy = DDPStrategy()
        assert isinstance(strategy._timeout, timedelta)
        compat.set_timeout(strategy, timedelta(days=7))
        assert strategy._timeout == timedelta(days=7)
        assert "self._timeout" in inspect.getsource(DDPStrategy.setup_distributed)


def test_lightning_calls_a_callback_that_was_added_to_its_list() -> None:
    class Counting(pl.Callback):
        begun = 0

        def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.begun += 1

    class Doubling(pl.LightningModule):
        def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            return 2 * batch[0]

    with reaching("pytorch-lightning", "Trainer.callbacks", "compat.callbacks"), quiet():
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        counting = Counting()
        compat.callbacks(trainer).append(counting)
        trainer.predict(Doubling(), DataLoader(TensorDataset(torch.ones(1, 1))))
        assert counting.begun == 1


def test_lightning_hands_hyperparameters_to_loggers_unless_told_not_to(tmp_path: Path) -> None:
    class Settled(pl.LightningModule):
        def __init__(self, size: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

        def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            return float(self.hparams["size"]) * batch[0]

    def logged(module: pl.LightningModule, name: str) -> bool:
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=CSVLogger(tmp_path, name, ""),
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.predict(module, DataLoader(TensorDataset(torch.ones(1, 1))))
        file = tmp_path / name / "hparams.yaml"
        return file.is_file() and "size" in file.read_text()

    what = "_log_hyperparams"
    with reaching("pytorch-lightning", what, "compat.hyperparameters_unlogged"), quiet():
        module = Settled()
        with compat.hyperparameters_unlogged(module):
            assert not logged(module, "without")
        assert logged(module, "with")


def test_lightning_starts_processes_and_an_observer_that_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "_SubprocessScriptLauncher.procs or _launch_process_observer"
    reached = "compat.started_processes, compat.unobserved_processes"
    with reaching("pytorch-lightning", name, reached):
        from pytorch_lightning.strategies.launchers import subprocess_script

        for variable in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            monkeypatch.delenv(variable, raising=False)
        command = [sys.executable, "-c", ""]
        monkeypatch.setattr(subprocess_script, "_basic_subprocess_cmd", lambda: command)
        for observed in (True, False):
            observers: list[object] = []
            monkeypatch.setattr(subprocess_script, "_launch_process_observer", observers.append)
            trainer = pl.Trainer(accelerator="cpu", devices=3, logger=False)
            assert compat.started_processes(trainer) == []
            launcher: Any = trainer.strategy.launcher
            with nullcontext() if observed else compat.unobserved_processes():
                assert launcher.launch(lambda: 7) == 7
            assert len(observers) == observed
            started = compat.started_processes(trainer)
            assert [process.wait() for process in started] == [0, 0]
            del os.environ["LOCAL_RANK"]


def test_tensorboard_gets_a_session_in_the_file_of_its_run(tmp_path: Path) -> None:
    what = "SummaryWriter._get_file_writer or summary.hparams"
    with reaching("torch", what, "compat.add_hparams"):
        with SummaryWriter(tmp_path) as writer:
            compat.add_hparams(writer, {"steps": 8, "method": "D2IR", "blind": True})
            writer.add_scalar("mean/psnr", 27.0)
        assert len(list(tmp_path.iterdir())) == 1
        events = EventAccumulator(str(tmp_path))
        events.Reload()
        metadata = events.SummaryMetadata("_hparams_/session_start_info")
        assert metadata.plugin_data.plugin_name == "hparams"
        assert b"D2IR" in metadata.plugin_data.content
        assert events.Scalars("mean/psnr")[0].value == 27


@pytest.mark.parametrize("kind", [argparse.ArgumentParser, jsonargparse.ArgumentParser])
def test_parsers_know_their_options(kind: type[argparse.ArgumentParser]) -> None:
    library = "jsonargparse"
    with reaching(library, "_option_string_actions", "compat.option_names"):
        parser = kind()
        parser.add_argument("--model.sigma_y", type=float)
        assert "--model.sigma_y" in compat.option_names(parser)
        assert "--model.sigma" not in compat.option_names(parser)


class Method:
    """What is chosen by `--method`."""


class Slow(Method):
    """One choice."""

    def __init__(self, steps: int = 100, scale: float = 2.0) -> None:
        self.steps, self.scale = steps, scale


class Fast(Method):
    """Another choice with arguments of the same names."""

    def __init__(self, steps: int = 5, scale: float = 1.0) -> None:
        self.steps, self.scale = steps, scale


def parsed(*options: str) -> dict[str, Any]:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Method, "method")
    parser.set_defaults({"method": jsonargparse.lazy_instance(Slow)})
    found: dict[str, Any] = parser.parse_args(list(options)).method.init_args.as_dict()
    return found


def test_jsonargparse_lets_a_class_start_from_its_own_defaults() -> None:
    slow = ["--method", f"{__name__}.Slow", "--method.steps", "50"]
    fast = ["--method", f"{__name__}.Fast", "--method.scale", "3"]
    what = "_typehints.discard_init_args_on_class_path_change"
    with reaching("jsonargparse", what, "compat.own_defaults"):
        assert parsed(*slow, *fast) == {"steps": 50, "scale": 3.0}, "what own_defaults is for"
        with compat.own_defaults():
            assert parsed(*slow, *fast) == {"steps": 5, "scale": 3.0}
            assert parsed(*slow, *slow[:2]) == {"steps": 50, "scale": 2.0}
        assert parsed(*slow, *fast) == {"steps": 50, "scale": 3.0}


def test_classes_that_jsonargparse_derives_are_known() -> None:
    with reaching("jsonargparse", "classes named LazyInstance_", "compat.is_lazy_class"):
        lazy = jsonargparse.lazy_instance(Slow, steps=3)
        assert compat.is_lazy_class(type(lazy))
        assert not compat.is_lazy_class(Slow)


def test_guided_diffusion_has_the_parts_that_are_replaced() -> None:
    what = "the parts of its U-Net under these names"
    with reaching("guided-diffusion-sdk", what, "d2ir_pl/priors/unet.py"):
        from guided_diffusion.unet import (
            AttentionBlock,
            QKVAttention,
            QKVAttentionLegacy,
            ResBlock,
            Upsample,
        )

        for new, kind in ((False, QKVAttentionLegacy), (True, QKVAttention)):
            block = AttentionBlock(32, num_heads=4, use_new_attention_order=new)
            assert isinstance(block.attention, kind)
            assert block.num_heads == 4
        enlarging = ResBlock(32, 32, 0.0, up=True)
        assert isinstance(enlarging.x_upd, Upsample)
        assert len(enlarging.in_layers) == 3
        assert len(enlarging.out_layers) == 4
        assert Upsample(32, True).conv.kernel_size == (3, 3)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined(tree: ast.AST) -> set[str]:
    """The private names that a file gives to functions, classes, variables and attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            # To set an attribute of something else is no definition, but a reach.
            and ast.unparse(node.value) in ("self", "cls")
        ):
            names.add(node.attr)
    return {name for name in names if private(name)}


ALLOWED = {"os._exit"}
"""What is documented in spite of its name: the way to end a process whose threads are waiting."""

FILES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
}
OWN = {name for tree in FILES.values() for name in defined(tree)}


def reaches(file: str) -> Iterator[str]:
    """The private parts that a file uses although no file of the package defines them."""
    for node in ast.walk(FILES[file]):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if node.attr not in OWN and ast.unparse(node) not in ALLOWED:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if (module or "").partition(".")[0] in ("d2ir_pl", "__future__"):
                continue
            for alias in node.names:
                name = f"{module}.{alias.name}" if module else alias.name
                if any(private(part) for part in name.split(".")):
                    yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("file", sorted(FILES.keys() - {"compat.py"}))
def test_no_other_file_touches_a_private_part_of_a_library(file: str) -> None:
    found = list(reaches(file))
    assert not found, f"{file} reaches into a library: move this to compat.py: {found}"


WAITING = """
import os, sys, torch.distributed as distributed
from d2ir_pl import compat
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
distributed.init_process_group("gloo", rank=int(sys.argv[1]), world_size=2)
distributed.barrier()
if sys.argv[1] == "1":
    os._exit(9)
try:
    distributed.barrier()
except RuntimeError as error:
    print(compat.lost_connection(error), compat.lost_connection(RuntimeError("no memory")), error)
"""


@pytest.mark.slow
def test_a_process_that_waits_in_vain_is_told_why() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING, rank, port], stdout=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    said, _ = processes[0].communicate()
    processes[1].wait()
    assert said.startswith("True False"), (
        f"Gloo no longer says so: see compat.lost_connection: {said}"
    )


def test_compat_loads_no_library_by_itself() -> None:
    code = "import d2ir_pl.compat, sys; print(*sys.modules)"
    package = "import importlib.util, sys; sys.modules['d2ir_pl'] = type(sys)('d2ir_pl'); "
    package += f"sys.modules['d2ir_pl'].__path__ = [{str(PACKAGE)!r}]; "
    done = subprocess.run(
        [sys.executable, "-c", package + code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "pytorch_lightning", "jsonargparse", "tensorboard"}


def test_the_thread_that_writes_event_files_says_nothing_and_the_writer_raises(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with compat.quiet_event_writers():
        writer = SummaryWriter(tmp_path)
        monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
        writer.add_scalar("a", 1.0)
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
    assert "Traceback" not in capfd.readouterr().err
