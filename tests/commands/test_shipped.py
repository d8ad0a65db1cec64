"""Shipped YAML files: each can be used as it stands, and says what the program does."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from photos import save
from shipped import CONFIGS, PRESETS, SHIPPED, TRAINING, contents, leaves, settings

from d2ir_pl.commands.fit import parse_training_options
from d2ir_pl.commands.predict import RestorationCLI, parse_options
from d2ir_pl.errors import UsageError
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors.precision import trainer_precision
from d2ir_pl.restoration import D2IR
from d2ir_pl.shipped.files import configs_folder


@pytest.mark.parametrize("name", CONFIGS)
def test_every_value_in_a_shipped_config_reaches_the_objects(name: str, parse: Any) -> None:
    cli = parse(config=name)
    config = cli.config.as_dict()
    for path, value in leaves(contents(name)):
        found: Any = config
        for key in path:
            found = found[key]
        found = list(found) if isinstance(found, tuple) else found
        assert found == value, f"{path} of {name}"
    model = contents(name)["model"]
    for key in ("degradation", "method"):
        built = getattr(cli.model, key)
        spec = model.get(key, {})
        if spec == "auto":  # nothing is built before a photo is seen
            assert getattr(cli.model, f"chooses_{key}")
            continue
        if "class_path" in spec:
            module, _, cls = spec["class_path"].rpartition(".")
            assert type(built) is getattr(importlib.import_module(module), cls)
        for path, value in leaves(spec.get("init_args", {})):
            found = built
            for part in path:
                if part == "class_path":
                    found = f"{type(found).__module__.rpartition('.')[0]}.{type(found).__name__}"
                elif part != "init_args":
                    found = found[part] if isinstance(part, int) else getattr(found, part)
            found = list(found) if isinstance(found, tuple) else found
            assert found == value, f"{path} of {name}"
    assert cli.trainer.precision == trainer_precision("auto", "cpu")
    cli.model.method.check(cli.model.degradation, cli.model.prior)


@pytest.mark.parametrize("name", TRAINING)
def test_every_value_in_a_training_config_reaches_the_objects(name: str, tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", number, 70, 70)
    common = ["--data.inputs", str(tmp_path), "--trainer.accelerator", "cpu"]
    cli = parse_training_options(["--config", name, *common])
    for path, value in leaves(contents(name)):
        found: Any = cli.config.as_dict()
        for key in path:
            found = found[key]
        assert found == value, f"{'.'.join(path)} of {name}"
    for key, value in contents(name)["data"].items():
        assert getattr(cli.datamodule, key) == value
    assert cli.trainer.max_steps == contents(name)["trainer"]["max_steps"]
    assert cli.trainer.precision == trainer_precision("auto", "cpu")
    assert parse_training_options(common).config.trainer.precision == "auto"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_leaves_the_precision_to_the_hardware(name: str) -> None:
    trainer = contents(name).get("trainer", {})
    assert trainer == {} if name in PRESETS else trainer["precision"] == "auto"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_what_it_names_and_nothing_else(name: str, parse: Any) -> None:
    task = parse(config="jpeg").config.as_dict()["model"]
    both = parse("--config", name, config="jpeg").config.as_dict()["model"]
    named = dict(leaves(contents(name)["model"]))
    assert {p for p, v in leaves(both) if dict(leaves(task))[p] != v} == set(named)
    assert {p: v for p, v in leaves(both) if p in named} == named


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_of_d2ir_is_refused_over_another_method(name: str, parse: Any) -> None:
    with pytest.raises(UsageError, match="is not an option of BlindDenoising"):
        parse("--config", name, config="denoising")


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_lightning_gets_the_precision_that_suits_the_hardware(
    parse: Any, monkeypatch: pytest.MonkeyPatch, fast: bool, expected: str
) -> None:
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: fast)
    cli = parse()
    assert cli.trainer.precision == expected
    assert cli.config.trainer.precision == "auto"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_says_what_it_is_for(name: str) -> None:
    assert (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


# ---- The defaults are blind_deblur.yaml ----


def test_without_a_config_predict_does_what_blind_deblur_says(parse: Any) -> None:
    assert settings(parse()) == settings(parse(config="blind_deblur"))


def defaults(cls: type) -> dict[str, Any]:
    """The constructor's defaults, those of its settings as dictionaries of their own."""
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        value = parameter.default
        nested = type(value).__module__.startswith("d2ir_pl")
        found[name] = vars(value) if nested else value
    return found


def test_constructor_defaults_equal_blind_deblur(parse: Any) -> None:
    shipped = contents("blind_deblur")["model"]
    model = RestorationModule()
    for key in ("degradation", "method"):
        cls = type(getattr(model, key))
        assert shipped[key]["class_path"].rpartition(".")[2] == cls.__name__
        standard = dict(leaves(defaults(cls)))
        for path, value in leaves(shipped[key]["init_args"]):
            assert standard[path] == value, f"{'.'.join(path)} of {cls.__name__}"
    assert shipped["prior"] == inspect.signature(RestorationModule).parameters["prior"].default

    built = parse(config="blind_deblur").model
    assert isinstance(model.method, D2IR)
    assert built.method.estimation == model.method.estimation
    assert built.method.latent == model.method.latent
    assert built.method.stages == model.method.stages
    for name in inspect.signature(type(model.degradation)).parameters:
        if hasattr(model.degradation, name):
            assert getattr(built.degradation, name) == getattr(model.degradation, name), name
    assert built.degradation.known is None
    assert model.degradation.known is None
    assert (built.seed, built.sigma_y) == (model.seed, model.sigma_y)


# ---- Round trips ----


PRINTED = {"auto", "best", "deblur", "d2ir_paper", "denoising", "hdr", "inpainting", "old_photo"}
"""Configs of unlike structure: no model, a preset, flags of a prior, lists, chains, no D2IR."""


@pytest.mark.parametrize(
    "name",
    [None, *(pytest.param(c, marks=() if c in PRINTED else pytest.mark.slow) for c in CONFIGS)],
)
def test_printed_config_parses_to_the_same_options(
    name: str | None,
    parse: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Options are compared, not the objects that are made of them.
    monkeypatch.setattr(RestorationCLI, "instantiate_classes", lambda cli: None)
    changed = ["--seed", "5", "--data.batch_size", "3", "--model.sigma_y", "0.05"]
    with pytest.raises(SystemExit) as stop:
        parse(*changed, "--print_config", config=name)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert isinstance(yaml.safe_load(printed), dict)
    (tmp_path / "printed.yaml").write_text(printed)
    original = settings(parse(*changed, config=name))
    assert settings(parse_options(["--config", "printed.yaml"])) == original
    assert (original["seed"], original["data"]["batch_size"]) == (5, 3)
