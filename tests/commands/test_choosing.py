"""Which class an option chooses, which file a config is, and what wins over what."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from shipped import contents, settings

from d2ir_pl.errors import UsageError
from d2ir_pl.shipped.files import configs_folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deblur_motion", "blind_deblur_kernel", "denoising"])
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


@pytest.mark.parametrize("method", ["DDRM", "DiffPIR", "DDNM", "PiGDM"])
@pytest.mark.parametrize("name", ["low_light", "jpeg", "hdr", "deblur_motion"])
def test_methods_for_linear_operators_refuse_others_with_a_remedy(
    name: str, method: str, parse: Any
) -> None:
    if name == "deblur_motion" and method in ("DiffPIR", "PiGDM"):
        parse("--model.method", method, config=name)
        return
    with pytest.raises(UsageError, match=r"^[^\n]*(use|set) [^\n]*$"):
        parse("--model.method", method, config=name)


def test_deblur_restores_with_the_kernel_of_the_file(parse: Any) -> None:
    degradation = parse(config="deblur").model.degradation
    kernel = degradation.kernel(degradation.known)[0]
    np.testing.assert_allclose(kernel, np.full((5, 5), 1 / 25), rtol=1e-6)
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
