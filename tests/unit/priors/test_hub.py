"""Priors by their ids in a model hub, by the hub library's own download from a local server."""

import builtins
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer, hub

from d2ir_pl.cli import main
from d2ir_pl.priors import PriorError, load_prior
from d2ir_pl.priors.hub import is_hub_id
from d2ir_pl.priors.registry import prior_files

diffusers = pytest.importorskip("diffusers")
constants = pytest.importorskip("huggingface_hub").constants


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = diffusers.UNet2DModel(
        block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8, **blocks
    )
    unet.save_pretrained(folder)
    diffusers.DDPMScheduler(num_train_timesteps=500).save_pretrained(folder)
    (folder / "picture.png").write_bytes(b"not asked for")
    return folder


@pytest.fixture
def server(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with a model of its own to change, and an empty cache."""
    folder = Path(shutil.copytree(model, tmp_path / "served"))
    with hub(folder) as server:
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield server


def test_an_id_is_downloaded_once_and_is_the_model(server: HubServer, model: Path) -> None:
    prior = load_prior("someone/tiny")
    assert prior.schedule.T == 500
    expected = load_prior(str(model))
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior.eps(x, 9), expected.eps(x, 9))
    weights = "diffusion_pytorch_model.safetensors"
    assert sorted(server.got) == ["config.json", weights, "scheduler_config.json"]
    # Another time nobody is asked.
    server.got.clear()
    assert [path.name for path in prior_files("someone/tiny")][1] == weights
    assert server.got == []


def test_pickled_weights_are_got_where_there_are_no_others(server: HubServer) -> None:
    served = server.folder / "diffusion_pytorch_model.safetensors"
    from safetensors.torch import load_file

    torch.save(load_file(served), server.folder / "diffusion_pytorch_model.bin")
    served.unlink()
    assert load_prior("someone/tiny").schedule.T == 500


def test_the_command_gets_a_model_by_its_id(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", "someone/tiny"]) == 0
    assert "someone/tiny is at " in capsys.readouterr().out
    assert main(["inspect-prior", "someone/tiny"]) == 0
    assert "steps: 500" in capsys.readouterr().out


def test_an_unknown_id_is_one_sentence(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", "someone/else"]) == 2
    error = capsys.readouterr().err
    assert "the model someone/else" in error
    assert "check" in error
    assert error.count("\n") == 1


def test_without_a_network_the_remedy_is_one_sentence(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(PriorError, match="hub cannot be reached: check the network") as error:
        load_prior("someone/tiny")
    assert "\n" not in str(error.value)


def test_without_the_library_its_name_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PriorError, match="pip install diffusers"):
        load_prior("google/ddpm-celebahq-256")


def test_paths_are_no_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_hub_id("google/ddpm-celebahq-256")
    for name in ("models/mine.pt", "a/b/c", "/a", "../b", "ffhq-256", "a b/c", "x/y.safetensors"):
        assert not is_hub_id(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "priors").mkdir()  # what lies in a folder that is there is no id
    with pytest.raises(PriorError, match="neither a file nor"):
        load_prior("priors/missing")
