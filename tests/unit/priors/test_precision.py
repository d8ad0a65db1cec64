"""Which number format suits a device, and that every entry asks the same question."""

import inspect
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from d2ir_pl import restore
from d2ir_pl.prediction.trainer import restoration_trainer
from d2ir_pl.priors.precision import (
    DTYPES,
    Precision,
    compute_dtype,
    device_type,
    precision_warning,
    resolve,
    trainer_precision,
)


def pretend(
    monkeypatch: pytest.MonkeyPatch, *, cpu: bool | None = None, gpu: int | None = None
) -> None:
    """Another machine.

    Args:
        cpu: whether oneDNN has bfloat16; None without oneDNN.
        gpu: its compute capability's first number; None without one.
    """
    one_dnn = SimpleNamespace()
    if cpu is not None:
        one_dnn._is_mkldnn_bf16_supported = lambda: cpu
    monkeypatch.setattr(torch.ops, "mkldnn", one_dnn)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (gpu, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("device", "machine", "short", "name"),
    [
        ("cpu", {"cpu": True}, "bf16", "bf16-mixed"),
        ("cpu", {"cpu": False}, "fp32", "32-true"),
        ("cpu", {"cpu": None}, "fp32", "32-true"),
        ("cpu", {"cpu": False, "gpu": 9}, "fp32", "32-true"),
        ("cuda", {"gpu": 9}, "bf16", "bf16-mixed"),
        ("cuda:1", {"gpu": 8, "cpu": False}, "bf16", "bf16-mixed"),
        ("cuda", {"gpu": 7, "cpu": True}, "fp16", "16-mixed"),
        ("mps", {"cpu": True}, "fp32", "32-true"),
        ("tpu", {"cpu": True}, "fp32", "32-true"),
    ],
)
def test_auto_is_half_precision_only_where_the_device_has_arithmetic_for_it(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    machine: dict[str, bool | int | None],
    short: str,
    name: str,
) -> None:
    pretend(monkeypatch, **machine)  # type: ignore[arg-type]
    assert resolve("auto", device) == short
    assert trainer_precision("auto", device) == name
    assert compute_dtype(name) == DTYPES[short]
    if device != "tpu":  # PyTorch has no device of that name
        assert resolve("auto", torch.device(device)) == short


@pytest.mark.parametrize("machine", [{}, {"cpu": True}, {"gpu": 7}, {"gpu": 9}])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_what_is_asked_for_is_respected(
    monkeypatch: pytest.MonkeyPatch, device: str, machine: dict[str, bool | int | None]
) -> None:
    pretend(monkeypatch, **machine)  # type: ignore[arg-type]
    for short in DTYPES:
        assert resolve(short, device) == short
    for name in ("32-true", "bf16-mixed", "16-mixed"):
        assert trainer_precision(name, device) == name


@pytest.mark.parametrize(
    ("name", "others", "short"),
    [
        ("32-true", ("fp32", "32"), "fp32"),
        ("bf16-mixed", ("bf16",), "bf16"),
        ("16-mixed", ("fp16", "16"), "fp16"),
    ],
)
def test_the_names_of_the_other_vocabulary_are_understood(
    name: str, others: tuple[str, ...], short: str
) -> None:
    assert resolve(name, "cpu") == short
    for other in others:
        assert trainer_precision(other, "cpu") == name


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'half' is unknown: use auto, fp32, bf16, fp16"):
        resolve("half", "cpu")
    for name in ("auto", "bf16-true"):
        with pytest.raises(ValueError, match="use one of auto, 32-true, bf16-mixed, 16-mixed"):
            compute_dtype(name)
    with pytest.raises(ValueError, match="64-true is not supported"):
        trainer_precision("64-true", "cpu")


def test_every_short_name_can_be_typed() -> None:
    assert get_args(Precision) == ("auto", *DTYPES)
    assert inspect.signature(restore).parameters["precision"].default == "auto"


@pytest.mark.parametrize(
    ("accelerator", "machine", "expected"),
    [
        ("auto", {"gpu": 7}, "16-mixed"),
        ("gpu", {"gpu": 9}, "bf16-mixed"),
        ("cuda", {"gpu": 9}, "bf16-mixed"),
        ("cpu", {"gpu": 9, "cpu": False}, "32-true"),
        ("auto", {"cpu": True}, "bf16-mixed"),
        ("auto", {"cpu": False}, "32-true"),
        ("mps", {"cpu": True}, "32-true"),
    ],
)
def test_the_device_follows_from_the_accelerator(
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    machine: dict[str, bool | int | None],
    expected: str,
) -> None:
    pretend(monkeypatch, **machine)  # type: ignore[arg-type]
    assert trainer_precision("auto", device_type(accelerator)) == expected


def test_apples_gpus_come_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cpu=True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for accelerator in ("auto", "gpu"):
        assert trainer_precision("auto", device_type(accelerator)) == "32-true"


@pytest.mark.parametrize("asked", ["fp16", "16", "16-mixed", "bf16", "auto", "fp32"])
@pytest.mark.parametrize("fast", [False, True])
def test_who_asks_for_another_precision_than_the_cpu_computes_in_is_told(
    monkeypatch: pytest.MonkeyPatch, asked: str, fast: bool
) -> None:
    pretend(monkeypatch, cpu=fast)
    name = trainer_precision(asked, "cpu")
    trainer = restoration_trainer(accelerator="cpu", precision=name)
    used = str(trainer.precision)
    warning = precision_warning(asked, used, torch.device("cpu"))
    if used == "32-true":
        assert warning is None
    elif not fast:
        assert f"{asked} will be very slow" in str(warning)
    elif used != name:
        assert f"{asked} is for GPUs: on this CPU the network computes in bfloat16" in str(warning)
    else:
        assert warning is None
    assert precision_warning(asked, name, torch.device("cuda")) is None
