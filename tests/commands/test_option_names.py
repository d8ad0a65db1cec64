"""A constructor names its parameter; the user reads the option that sets it, at every depth."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from photos import save_all

from d2ir_pl.commands.fit import parse_training_options
from d2ir_pl.commands.sentences import with_option
from d2ir_pl.errors import UserError


def blur(**arguments: Any) -> dict[str, Any]:
    return {"class_path": "GaussianBlur", "init_args": arguments}


def chain(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": "Compose", "init_args": {"parts": list(parts)}}


JPEG = {"class_path": "Jpeg", "init_args": {"quality": 0}}
D2IR = {"class_path": "D2IR", "init_args": {"estimation": {"steps": 0}}}

TYPED = [
    (["--data.batch_size", "0"], "--data.batch_size 0 must be at least 1"),
    (["--model.num_samples", "0"], "--model.num_samples 0 must be at least 1"),
    (["--model.sigma_y", "2"], "--model.sigma_y 2.0 must"),
    (["--model.degradation.kernel_size", "4"], "--model.degradation.kernel_size 4 must be odd"),
    (["--model.method=GDP", "--model.method.steps=0"], "--model.method.steps 0 must be at least 1"),
    (["--model.method.estimation.steps", "0"], "--model.method.estimation.steps 0 must"),
    (["--model.method.latent.iterations", "-1"], "--model.method.latent.iterations -1 must be at"),
    (["--trainer.devices", "0"], "--trainer.devices 0: "),
    (["--trainer.devices", "x"], "--trainer.devices x: "),
    (["--trainer.strategy", "foo"], "--trainer.strategy foo: "),
    (["--trainer.accelerator", "gpuu"], "--trainer.accelerator gpuu: "),
    (["--trainer.num_nodes", "0"], "--trainer.num_nodes 0: "),
    (["--trainer.fast_dev_run", "-1"], "--trainer.fast_dev_run -1: "),
    (["--trainer.profiler", "foo"], "--trainer.profiler foo: "),
    (["--model.method", "auto"], "--model.method auto chooses what suits"),
]

FILES = [
    ({"data": {"batch_size": 0}}, "--data.batch_size 0 must be at least 1"),
    ({"model": {"num_samples": 0}}, "--model.num_samples 0 must be at least 1"),
    ({"model": {"degradation": blur(kernel_size=4)}}, "--model.degradation.kernel_size 4 must be"),
    ({"model": {"method": D2IR}}, "--model.method.estimation.steps 0 must"),
    (
        {"model": {"degradation": chain(blur(), JPEG)}},
        "--model.degradation.parts[1].quality 0 must",
    ),
    (
        {"model": {"degradation": chain(blur(), chain(blur(kernel_size=4)))}},
        "--model.degradation.parts[1].parts[0].kernel_size 4 must be odd",
    ),
]


@pytest.mark.parametrize(("options", "start"), TYPED, ids=str)
def test_what_was_typed_is_named(parse: Any, options: list[str], start: str) -> None:
    with pytest.raises(UserError) as error:
        parse(*options)
    assert str(error.value).startswith(start)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("tree", "start"), FILES, ids=str)
def test_what_stands_in_a_file_is_named_as_it_would_be_typed(
    parse: Any, tmp_path: Path, tree: dict[str, Any], start: str
) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError) as error:
        parse(config="own.yaml")
    assert str(error.value).startswith(start)
    assert "Literal" not in str(error.value), "other types are no remedy"


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (["--trainer.max_steps", "0"], "--trainer.max_steps 0 must be at least 1"),
        (["--data.batch_size", "0"], "--data.batch_size 0 must be at least 1"),
        (["--model.lr", "0"], "--model.lr 0.0 must be"),
        (["--model.ema_decay", "1"], "--model.ema_decay 1.0 must"),
        (
            ["--trainer.val_check_interval", "0"],
            "--trainer.val_check_interval 0 must be at least 1",
        ),
        (["--trainer.accumulate_grad_batches", "0"], "--trainer.accumulate_grad_batches 0 must"),
        (["--trainer.log_every_n_steps", "0"], "--trainer.log_every_n_steps 0 must be at least 1"),
        (["--trainer.gradient_clip_val", "-1"], "--trainer.gradient_clip_val -1 must be at least"),
        (["--trainer.gradient_clip_algorithm", "x"], "--trainer.gradient_clip_algorithm x: "),
        (["--trainer.limit_train_batches", "1.5"], "--trainer.limit_train_batches 1.5: "),
        (["--trainer.max_time", "5"], "--trainer.max_time 5: "),
        (["--model.unet.class_cond", "true"], "--model.unet.class_cond true cannot be trained"),
    ],
    ids=str,
)
def test_options_of_a_training_are_named(tmp_path: Path, options: list[str], start: str) -> None:
    save_all(tmp_path, ["a.png", "b.png"], 70, 70)
    common = ["--data.inputs", str(tmp_path), "--trainer.accelerator", "cpu"]
    with pytest.raises(UserError) as error:
        parse_training_options([*common, *options])
    assert str(error.value).startswith(start)


def test_an_unknown_option_of_a_part_is_named(parse: Any, tmp_path: Path) -> None:
    tree = {"model": {"degradation": chain(blur(kernal=3))}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError) as error:
        parse(config="own.yaml")
    assert str(error.value) == (
        "--model.degradation.parts.kernal is not an option of GaussianBlur: see 'd2ir predict "
        "--model.degradation.help GaussianBlur'"
    )


OPTIONS = {
    "seed": 0,
    "model": {
        "method": {"class_path": "a.D2IR", "init_args": {"estimation": {"steps": 8, "start": 120}}},
        "degradation": {"class_path": "a.Blur", "init_args": {"draw": (0.5, 2.5), "flag": True}},
        "prior": "x",
    },
    "data": {"steps": 2.5, "rate": 0.1},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("steps 8 must be odd", "--model.method.estimation.steps 8 must be odd"),
        ("steps 8, start 120 are", "--model.method.estimation.steps 8, start 120 are"),
        ("estimation.steps 8 must", "--model.method.estimation.steps 8 must"),
        ("method.estimation.steps 8 must", "--model.method.estimation.steps 8 must"),
        ("model.method.estimation.steps 8 must", "--model.method.estimation.steps 8 must"),
        ("--model.method.estimation.steps 8 must", "--model.method.estimation.steps 8 must"),
        ("method.estimation: too long", "--model.method.estimation: too long"),
        ("steps 2.5 must", "--data.steps 2.5 must"),  # the one with this value
        ("rate 0.1 must", "--data.rate 0.1 must"),
        ("draw (0.5, 2.5) must rise", "--model.degradation.draw (0.5, 2.5) must rise"),
        ("flag true cannot", "--model.degradation.flag true cannot"),
        ("prior 'x' is unknown", "--model.prior 'x' is unknown"),
        ("seed 0.5 is no integer", "seed 0.5 is no integer"),  # not 0, the value of the option
        ("the prior x is unknown", "the prior x is unknown"),
        ("steps are counted from 0", "steps are counted from 0"),
    ],
)
def test_a_prefix_is_neither_doubled_nor_lost(message: str, expected: str) -> None:
    assert with_option(message, OPTIONS) == expected
