"""Files of weights that claim anything: a prior, or one sentence, and nothing built before that."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from d2ir_pl.errors import PriorError, UserError
from d2ir_pl.priors import UNetFlags, guided_diffusion, load_prior
from d2ir_pl.priors.export import CHECKPOINT_KEY, export_prior

SMALL = UNetFlags(
    image_size=16,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2",
    attention_resolutions="",
    num_head_channels=32,
    learn_sigma=False,
    resblock_updown=False,
)
WRONG: list[Any] = [
    *(None, True, -1, 0, 10**7, 10**30, 1e9, 0.5, float("nan"), "x", "[" * 3000, [], {}),
    *([None], [0], [10**9], [1] * 100, {"x": 1}),
]
CONFIG, SCHEDULE = SMALL.config(), SMALL.schedule_config()


def sentence_of(function: Callable[[], object]) -> str:
    """The message of what a function refuses, which is one line."""
    with pytest.raises(UserError) as error:
        function()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    return str(error.value)


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    made: dict[str, Tensor] = SMALL.build().state_dict()
    return made


def described(path: Path, config: Any = CONFIG, schedule: Any = SCHEDULE) -> Path:
    metadata = {"config": json.dumps(config), "schedule": json.dumps(schedule)}
    save_file({"x": torch.zeros(1)}, path, metadata)
    return path


def test_descriptions_of_anything_are_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[dict[str, Any]] = []
    usual: Any = vars(guided_diffusion)["FastUNet"]

    def watched(**arguments: Any) -> Any:
        built.append(arguments)
        return usual(**arguments)

    monkeypatch.setattr(guided_diffusion, "FastUNet", watched)
    path = tmp_path / "p.safetensors"
    cases = [(CONFIG | {key: value}, SCHEDULE) for key in CONFIG for value in WRONG]
    cases += [(CONFIG, SCHEDULE | {key: value}) for key in SCHEDULE for value in WRONG]
    cases += [case for whole in WRONG for case in ((whole, SCHEDULE), (CONFIG, whole))]
    for config, schedule in cases:
        described(path, config, schedule)
        sentence_of(lambda: load_prior(str(path)))
    for arguments in built:
        assert arguments["model_channels"] <= 16_384
        assert arguments["num_res_blocks"] <= 64
        assert len(arguments["channel_mult"]) <= 12
    large = CONFIG | {"model_channels": 16_384, "num_res_blocks": 4, "channel_mult": [1, 8, 64]}
    said = sentence_of(lambda: load_prior(str(described(path, large))))
    assert "describes a network of" in said


@pytest.mark.parametrize("metadata", [None, {}, {"config": "{"}, {"config": "[" * 10_000}])
def test_metadata_that_say_nothing_are_refused(tmp_path: Path, metadata: Any) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "p.safetensors", metadata)
    assert "'config' in its metadata" in sentence_of(
        lambda: load_prior(str(tmp_path / "p.safetensors"))
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "ema_model.module.", "a.b."]
)
def test_weights_load_under_the_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    expected = weights()
    kept = {prefix + name: value for name, value in expected.items()}
    kept |= {"step": torch.tensor(3), "other.weight": torch.ones(2)}
    torch.save(kept, tmp_path / "p.pt")
    loaded = load_prior(str(tmp_path / "p.pt"), SMALL).unet.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_the_average_is_taken_where_a_checkpoint_has_both(tmp_path: Path) -> None:
    raw, average = weights(), {name: value + 1 for name, value in weights().items()}
    both = {f"model.{n}": v for n, v in raw.items()} | {f"ema.{n}": v for n, v in average.items()}
    for content in (both, {"state_dict": both, "epoch": 3}, {"model": raw, "ema": average}):
        torch.save(content, tmp_path / "p.pt")
        loaded = load_prior(str(tmp_path / "p.pt"), SMALL).unet.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in average.items())


def test_what_is_saved_in_place_of_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.pt"

    def said() -> str:
        return sentence_of(lambda: load_prior(str(path), SMALL))

    path.write_text("<!DOCTYPE html><html>Sign in</html>")
    assert "p.pt is a web page" in said()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "p.pt is a Git LFS pointer" in said()
    assert "Git LFS pointer" in sentence_of(lambda: load_prior(str(path)))
    torch.save({"state": {}, "param_groups": []}, path)
    assert "state of an optimiser" in said()
    torch.save({"epoch": 3, "args": {"lr": 0.1}}, path)
    assert "a dictionary of epoch, args" in said()
    torch.save([1, 2], path)
    assert "but a list" in said()
    path.write_bytes(b"\x80\x02]q\x00.")
    said()
    path.unlink()
    os.mkfifo(path)
    assert "is no regular file" in said()


def test_files_that_grow_when_they_are_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.pt"
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "plain.pt")
    bomb = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert "compressed archive" in sentence_of(lambda: load_prior(str(path), SMALL))
    torch.save({"a": torch.zeros(1).expand(10**15)}, path)
    assert "fewer numbers than it claims in a" in sentence_of(lambda: load_prior(str(path), SMALL))


def test_checkpoints_of_anything_are_refused_by_export(tmp_path: Path) -> None:
    about = {"config": CONFIG, "schedule": SCHEDULE, "training": {"steps": 3}}
    kept = {f"average.module.{name}": value for name, value in weights().items()}
    path, output = tmp_path / "c.ckpt", tmp_path / "p.safetensors"
    torch.save({CHECKPOINT_KEY: about, "state_dict": kept}, path)
    export_prior(path, output)
    output.unlink()
    contents: list[Any] = [{CHECKPOINT_KEY: value, "state_dict": kept} for value in WRONG]
    contents += [{CHECKPOINT_KEY: about, "state_dict": value} for value in WRONG]
    contents += [{CHECKPOINT_KEY: about | {key: {}}, "state_dict": kept} for key in ("config",)]
    contents += [{CHECKPOINT_KEY: about, "state_dict": kept | {"average.module.x": 3}}]
    contents += [{CHECKPOINT_KEY: about, "state_dict": {}}]
    for content in contents:
        torch.save(content, path)
        with pytest.raises(PriorError, match=r"c\.ckpt"):
            export_prior(path, output)
    assert not output.exists()
