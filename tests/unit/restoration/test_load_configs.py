"""Shipped configs as objects, without the parser of the command line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from photos import save
from torch import Tensor, nn

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.degradations import Compose, GaussianBlur, Jpeg
from d2ir_pl.errors import InputError, UsageError
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.restoration import D2IR, PosteriorMean
from d2ir_pl.restoration.configs import STANDARD, layered, load, shipped_model
from d2ir_pl.restoration.construction import Settings, completed, construct
from d2ir_pl.shipped.files import configs_folder

SHIPPED = [path.stem for path in sorted(configs_folder().glob("*.yaml"))]
RESTORING = [name for name in SHIPPED if not name.startswith("train_")]


def from_command_line(tmp_path: Path, *configs: str) -> Any:
    photo = save(tmp_path / "photo.png")
    named = [option for name in configs for option in ("--config", name)]
    return parse_options([*named, "--data.inputs", str(photo), "--trainer.accelerator", "cpu"])


def plain(value: Any) -> Any:
    """Settings with lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def state(value: Any) -> Any:
    """All that an object keeps, of the objects inside it too."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, nn.ModuleList):
        return [state(item) for item in value]
    if isinstance(value, nn.Module):
        shown = (key for key, item in vars(value).items() if key[:1] != "_" and not callable(item))
        kept = {key: state(vars(value)[key]) for key in shown}
        return type(value), kept, state(dict(value.named_buffers())), state(list(value.children()))
    if isinstance(value, dict):
        return {key: state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [state(item) for item in value]
    if type(value).__module__.startswith("d2ir_pl"):
        return type(value), state(vars(value))
    return value


@pytest.mark.parametrize("configs", [*((name,) for name in RESTORING), ("jpeg", "fast")])
def test_a_config_has_the_same_settings_as_on_the_command_line(
    configs: tuple[str, ...], tmp_path: Path
) -> None:
    parsed = from_command_line(tmp_path, *configs)
    settings = layered(STANDARD, *map(shipped_model, configs))
    expected = parsed.config.as_dict()["model"]
    assert completed(RestorationModule, settings) == plain(expected)
    if configs == ("auto",):
        return
    degradation, method = parsed.model.degradation, parsed.model.method
    setup = load(configs[0], layered(*map(shipped_model, configs[1:])))
    assert state(setup.degradation) == state(degradation)
    assert state(setup.method) == state(method)


def test_overrides_replace_what_they_name_and_nothing_else() -> None:
    method = {"init_args": {"estimation": {"steps": 3}}}
    degradation = {"init_args": {"draw_quality": [10, 10]}}
    found = load("jpeg", {"degradation": degradation, "method": method})
    shipped = load("jpeg")
    assert isinstance(found.degradation, Jpeg)
    assert found.degradation.draw_quality == (10, 10)
    assert isinstance(found.method, D2IR)
    assert isinstance(shipped.method, D2IR)
    assert found.method.estimation == dataclasses.replace(shipped.method.estimation, steps=3)


def test_a_class_that_replaces_another_starts_from_its_own_defaults() -> None:
    anisotropic = {"class_path": "d2ir_pl.degradations.GaussianBlur"}
    kept = load("blind_deblur_anisotropic", {"degradation": anisotropic}).degradation
    assert isinstance(kept, GaussianBlur)
    assert not kept.isotropic
    swapped = {"class_path": "d2ir_pl.degradations.Compose", "init_args": {"parts": [anisotropic]}}
    chain = load("blind_deblur_anisotropic", {"degradation": swapped}).degradation
    assert isinstance(chain, Compose)
    assert chain.parts[0].isotropic
    mean = {"class_path": "d2ir_pl.restoration.PosteriorMean"}
    assert isinstance(load("jpeg", {"method": mean}).method, PosteriorMean)


def test_settings_that_are_completed_describe_the_same_object() -> None:
    settings = layered(STANDARD, shipped_model("old_photo"))
    whole = completed(RestorationModule, settings)
    assert completed(RestorationModule, whole) == whole
    assert whole["seed"] == 0
    assert whole["degradation"]["init_args"]["parts"][0]["init_args"]["kernel_size"] == 21
    once, twice = (construct(RestorationModule, s) for s in (settings, whole))
    assert state(once.degradation) == state(twice.degradation)
    assert state(once.method) == state(twice.method)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blind_deblurr", "did you mean blind_deblur?"),
        ("nothing", "more lie in"),
        ("../configs/jpeg", "does not exist"),
    ],
)
def test_an_unknown_config_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load(name)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("auto", "config auto has no degradation: it is chosen for each photo"),
        ("train_prior_natural", "config train_prior_natural has no degradation and no method"),
    ],
)
def test_configs_that_restore_nothing_themselves_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(name)


def spec(path: str, **arguments: Any) -> Settings:
    return {"class_path": path, "init_args": arguments}


GAUSSIAN = "d2ir_pl.degradations.GaussianBlur"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"method": {"init_args": {"estimation": {"step": 3}}}},
            "method.estimation.step is not a setting of DegradationEstimation: did you mean steps?",
        ),
        (
            {"method": {"init_args": {"estimation": {"steps": "many"}}}},
            "method.estimation.steps 'many' must be a whole number",
        ),
        (
            {"method": {"init_args": {"estimation": {"steps": True}}}},
            "method.estimation.steps True must be a whole number",
        ),
        (
            {"method": {"init_args": {"stages": "all"}}},
            "method.stages 'all' must be 'both' or 'estimation' or 'latent'",
        ),
        ({"method": spec("os.system")}, "method.class_path 'os.system' is unknown: use one of"),
        (
            {"method": spec("d2ir_pl.restoration.RestorationMethod")},
            "method.class_path 'd2ir_pl.restoration.RestorationMethod' is unknown",
        ),
        ({"method": spec("d2ir_pl.restoration.PosteriorMean", steps=3)}, "it has none"),
        (
            {"degradation": spec("d2ir_pl.degradations.blur.GaussianBlur")},
            f"is unknown: did you mean {GAUSSIAN}?",
        ),
        ({"degradation": spec("d2ir_pl.restoration.D2IR")}, "is unknown: use one of d2ir_pl.degra"),
        ({"degradation": spec("d2ir_pl.degradations.Compose")}, "degradation.parts is missing"),
        (
            {"degradation": spec("d2ir_pl.degradations.Compose", parts=[spec(GAUSSIAN, angle="")])},
            "degradation.parts[0].angle '' must be a number",
        ),
        (
            {"degradation": spec(GAUSSIAN, draw_width=[1, 2, 3])},
            "degradation.draw_width [1, 2, 3] must be a list of 2",
        ),
        ({"degradation": spec(GAUSSIAN, width="wide")}, "must be a number or a list or null"),
        ({"degradation": "Blur"}, "degradation 'Blur' must be a dictionary for Degradation"),
        ({"degradation": {"kernel_size": 3}}, "degradation.kernel_size must stand under init_args"),
        ({"degradation": {"init_args": 3}}, "degradation.init_args 3 must be a dictionary"),
    ],
)
def test_what_is_wrong_with_a_setting_is_one_sentence(overrides: Settings, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load("jpeg" if "method" in overrides else "blind_deblur", overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_outside_its_range_is_named_with_its_place() -> None:
    parts = [spec(GAUSSIAN, kernel_size=4)]
    chain = spec("d2ir_pl.degradations.Compose", parts=parts)
    with pytest.raises(ValueError, match=r"^degradation.parts\[0\]: kernel_size 4 must be odd"):
        load("jpeg", {"degradation": chain})
