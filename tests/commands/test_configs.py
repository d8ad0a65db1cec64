"""Shipped YAML files: each can be used as it stands, and says what the program does."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from photos import save

from d2ir_pl.commands.fit import parse_training_options
from d2ir_pl.commands.predict import RestorationCLI, parse_options
from d2ir_pl.errors import UsageError
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors.precision import trainer_precision
from d2ir_pl.restoration.configs import configs_folder

SHIPPED = sorted(path.stem for path in configs_folder().glob("*.yaml"))
TRAINING = [name for name in SHIPPED if name.startswith("train_")]
PRESETS = ["best", "fast"]
"""Those that go over the config of a task."""
CONFIGS = [name for name in SHIPPED if name not in TRAINING]


def contents(name: str) -> dict[str, Any]:
    return yaml.safe_load((configs_folder() / f"{name}.yaml").read_text(encoding="utf-8"))


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and any(isinstance(value, dict) for value in tree):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
    else:
        yield path, tree


def settings(cli: RestorationCLI) -> dict[str, Any]:
    """All options but the name of the file that they come from."""
    config = cli.config.as_dict()
    del config["config"]
    return config


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse options as `predict` does, with an input, and a kernel where the task needs one."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png")
    np.save(tmp_path / "kernel.npy", np.full((5, 5), 1 / 25))

    def parse(*arguments: str, config: str | None = None) -> RestorationCLI:
        options = [] if config is None else ["--config", config]
        if config is not None and Path(config).stem == "deblur":
            options += ["--model.degradation.kernel", "kernel.npy"]
        common = ["--data.inputs", "photo.png", "--trainer.accelerator", "cpu"]
        return parse_options([*options, *common, *arguments])

    return parse


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
    with pytest.raises(UsageError, match="is not an option of PosteriorMean"):
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


@pytest.mark.parametrize(
    "name", ["blind_deblur", "deblur_motion", "blind_deblur_kernel", "denoising", "old_photo"]
)
def test_one_word_changes_the_method_or_is_refused_in_one_sentence(name: str, parse: Any) -> None:
    model = contents(name)["model"]
    kind = model.get("degradation", {}).get("class_path", "GaussianBlur").rpartition(".")[2]
    needed = {"PosteriorMean": "Identity", "FastDiffusionEM": "Blur"}
    for method in ("D2IR", "GDP", "DPS", "BIRD", "PosteriorMean", "FastDiffusionEM"):
        if needed.get(method, kind) == kind:
            assert (
                type(parse("--model.method", method, config=name).model.method).__name__ == method
            )
        else:
            with pytest.raises(UsageError, match=rf"^.* not an? {kind}: use .*$"):
                parse("--model.method", method, config=name)


@pytest.mark.parametrize(
    ("config", "option", "name"),
    [
        ("gdp_deblur", "method", "DPS"),  # both have a scale
        ("ddrm_deblur", "method", "GDP"),  # both have steps
        ("blind_deblur_kernel", "method", "D2IR"),
        ("blind_deblur", "degradation", "MotionBlur"),  # both have an angle
        ("blind_deblur", "degradation", "Downsampling"),
    ],
)
def test_a_class_that_replaces_another_has_its_own_defaults(
    config: str, option: str, name: str, parse: Any
) -> None:
    before = parse(config=config).config.model[option]
    found = parse(f"--model.{option}", name, config=config).config.model[option]
    if before.class_path == found.class_path:
        assert found == before  # nothing is replaced
        return
    cls = getattr(importlib.import_module(found.class_path.rpartition(".")[0]), name)
    for key, parameter in inspect.signature(cls).parameters.items():
        assert found.init_args[key] == parameter.default, key


def test_a_class_is_the_same_under_two_import_paths(parse: Any, tmp_path: Path) -> None:
    own = {"class_path": "d2ir_pl.degradations.blur.Blur", "init_args": {"kernel_size": 31}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"degradation": own}}))
    assert (
        parse("--model.degradation", "Blur", config="own.yaml").model.degradation.kernel_size == 31
    )


def test_options_before_their_class_are_refused(parse: Any) -> None:
    with pytest.raises(
        UsageError, match=r"kernel_size stands before --model\.degradation, .* first"
    ):
        parse("--model.degradation.kernel_size", "31", "--model.degradation", "Blur")
    assert parse("--model.degradation=Blur", "--model.degradation.kernel_size=31")


def test_an_unknown_motion_has_an_unknown_direction(parse: Any) -> None:
    assert parse(config="deblur_motion").model.degradation.angle is None
    assert parse("--model.degradation", "MotionBlur").model.degradation.angle is None


@pytest.mark.parametrize("method", ["DDRM", "DiffPIR"])
@pytest.mark.parametrize("name", ["low_light", "jpeg", "hdr", "deblur_motion"])
def test_methods_for_linear_operators_refuse_others_with_a_remedy(
    name: str, method: str, parse: Any
) -> None:
    if (name, method) == ("deblur_motion", "DiffPIR"):
        parse("--model.method", method, config=name)
        return
    with pytest.raises(UsageError, match=r"^[^\n]*(use|set) [^\n]*$"):
        parse("--model.method", method, config=name)


def test_deblur_restores_with_the_kernel_of_the_file(parse: Any) -> None:
    degradation = parse(config="deblur").model.degradation
    np.testing.assert_allclose(degradation.known, np.full((5, 5), 1 / 25), rtol=1e-6)
    assert not degradation.estimated


def test_a_shipped_config_is_found_by_name_file_name_and_path(parse: Any) -> None:
    path = configs_folder() / "d2ir_paper.yaml"
    expected = settings(parse(config=str(path)))
    for spelling in ("d2ir_paper", "d2ir_paper.yaml", "configs/d2ir_paper.yaml"):
        assert settings(parse(config=spelling)) == expected
        assert settings(parse(f"--config={spelling}")) == expected


def test_a_file_of_the_users_comes_before_a_shipped_one(parse: Any, tmp_path: Path) -> None:
    (tmp_path / "blind_deblur").write_text("seed: 42\n")
    assert parse(config="blind_deblur").config.seed == 42


def test_later_files_and_options_win(parse: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {sigma_y: 0.1}\nseed: 3\n")
    cli = parse("--config", "mine.yaml", "--seed", "4", config="blind_deblur_anisotropic")
    assert not cli.model.degradation.isotropic
    assert (cli.model.sigma_y, cli.model.seed) == (0.1, 4)


def test_environment_variables_set_options(parse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2IR_MODEL__SIGMA_Y", "0.2")
    assert parse().model.sigma_y == 0.2
    assert parse("--model.sigma_y", "0.3").model.sigma_y == 0.3


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


@pytest.mark.parametrize("name", [None, *CONFIGS])
def test_printed_config_parses_to_the_same_options(
    name: str | None, parse: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
