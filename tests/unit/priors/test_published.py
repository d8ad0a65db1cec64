"""Checkpoints of others: their architectures, their files, and how they are got."""

import hashlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from file_server import FileServer, serving
from repository import DATA, DOCS
from safetensors.torch import save_file
from torch import Tensor

from d2ir_pl.cli import main
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diffusion import Gradient
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.errors import DownloadError
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors import PriorError, UNetFlags, load_prior
from d2ir_pl.priors.download import RemoteFile
from d2ir_pl.priors.published import PUBLISHED, PublishedPrior
from d2ir_pl.priors.registry import fetch
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization, Problem

# The flags of 256x256_diffusion_uncond.pt, but for the size.
SMALL = UNetFlags(
    image_size=64,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,1,2",
    attention_resolutions="32,16",
    num_head_channels=16,
)


def shapes(flags: UNetFlags) -> dict[str, list[int]]:
    with torch.device("meta"):
        unet = flags.build()
    return {name: list(tensor.shape) for name, tensor in unet.state_dict().items()}


def random_weights(flags: UNetFlags, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.05 * torch.randn(shape, generator=generator)
        for name, shape in shapes(flags).items()
    }


def saved(path: Path, flags: UNetFlags, seed: int = 0) -> Path:
    """A file as others publish it: a flat float32 state dict."""
    torch.save(random_weights(flags, seed), path)
    return path


# ---- Architectures ----


def test_the_imagenet_prior_has_the_names_and_shapes_of_the_published_file() -> None:
    reference = DATA / "adm256_uncond_shapes.json"
    assert shapes(UNetFlags()) == json.loads(reference.read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_prior_has_its_number_of_parameters(name: str) -> None:
    prior = PUBLISHED[name]
    found = shapes(prior.flags)
    assert sum(math.prod(shape) for shape in found.values()) == prior.parameters
    assert ("label_emb.weight" in found) == prior.flags.class_cond
    if prior.remote is not None and prior.remote.size is not None:
        # Beside the weights a file holds a few hundred bytes for each tensor.
        overhead = prior.remote.size - 4 * prior.parameters
        assert 100 < overhead / len(found) < 500


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("lsun-bedroom", 552),
        ("imagenet-64", 296),
        ("imagenet-128", 422),
        ("imagenet-256-cond", 554),
        ("imagenet-512", 559),
    ],
)
def test_parameters_are_those_of_the_paper(name: str, millions: int) -> None:
    """Dhariwal and Nichol 2021, table 11."""
    assert PUBLISHED[name].parameters / 1e6 == pytest.approx(millions, abs=1)


def test_flags_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        replace(SMALL, num_head_channels=48).build()


# ---- The published format, through both stages ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gradient", ["full", "detached"])
def test_a_published_file_restores_in_half_precision(
    tmp_path: Path, dtype: torch.dtype, gradient: Gradient
) -> None:
    prior = load_prior(str(saved(tmp_path / "model.pt", SMALL)), SMALL).cast(dtype)
    method = D2IR(
        DegradationEstimation(steps=1, start=100),
        LatentOptimization(
            iterations=1,
            ddim_steps=1,
            level=50,
            gradient=gradient,
            discrepancy=0.0,
            fixed_point_iterations=1,
        ),
    )
    y = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    restored = method.restore(
        Problem.of(y, GaussianBlur(kernel_size=5), [image_generator(0, "a")]), prior
    )
    assert bool(restored.x0.isfinite().all())
    assert bool(restored.residual.isfinite().all())
    assert len(restored.losses["estimation"][0]) == 1
    first, *rest = restored.losses["latent"][0]
    # The first residual is stage 1's; then the chain's before and after the step of Adam.
    assert len(rest) == 2
    assert all(math.isfinite(loss) for loss in (first, *rest))
    assert rest[0] != rest[1]


# ---- Classes ----


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, UNetFlags]:
    flags = replace(SMALL, class_cond=True)
    return str(saved(tmp_path_factory.mktemp("classes") / "model.pt", flags)), flags


def test_the_label_reaches_every_evaluation(conditional: tuple[str, UNetFlags]) -> None:
    path, flags = conditional
    unet = flags.build().eval()
    unet.load_state_dict(random_weights(flags))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    steps = torch.full((2,), 300)
    predictions = []
    for label in (0, 207, 999):
        prior = load_prior(path, flags, label=label)
        with torch.no_grad():
            predictions.append(unet(x, steps, torch.full((2,), label))[:, :3])
        assert torch.allclose(prior.eps(x, 300), predictions[-1], atol=1e-5)
    assert not torch.allclose(predictions[0], predictions[1], atol=1e-3)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, r"class-conditional: give the label of a class, in 0\.\.999$"),
        (1000, r"^label 1000 is not a class .* one of 0\.\.999$"),
        (-1, r"^label -1 is not a class"),
    ],
)
def test_a_class_is_asked_for_before_the_weights_are_read(
    tmp_path: Path, label: int | None, message: str
) -> None:
    (tmp_path / "model.pt").write_text("never read")
    flags = replace(SMALL, class_cond=True)
    with pytest.raises(PriorError, match=message):
        load_prior(str(tmp_path / "model.pt"), flags, label=label)


def test_a_label_without_classes_is_refused() -> None:
    with pytest.raises(
        PriorError, match=r"^label 3 is a class, and the prior knows none: leave it out$"
    ):
        load_prior(label=3)


def test_a_file_with_metadata_knows_its_classes(tmp_path: Path) -> None:
    flags = replace(SMALL, class_cond=True)
    metadata = {
        "config": json.dumps(flags.config()),
        "schedule": json.dumps(flags.schedule_config()),
        "prediction": "eps",
    }
    path = tmp_path / "own.safetensors"
    save_file(random_weights(flags), path, metadata)
    with pytest.raises(PriorError, match=r"label of a class, in 0\.\.999"):
        load_prior(str(path))
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    one, other = (load_prior(str(path), label=label).eps(x, 300) for label in (1, 2))
    assert not torch.allclose(one, other, atol=1e-3)


def test_the_module_takes_the_label(conditional: tuple[str, UNetFlags]) -> None:
    path, flags = conditional
    assert RestorationModule(prior=path, prior_flags=flags, label=207).prior.label == 207


# ---- By name ----


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("D2IR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_file_name_of_a_published_prior_tells_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, "tiny", PublishedPrior("tiny.pt", SMALL, 0, "", ""))
    prior = load_prior(str(saved(tmp_path / "tiny.pt", SMALL)))
    assert prior.schedule.T == 1000
    other = replace(SMALL, diffusion_steps=500)
    assert load_prior(str(tmp_path / "tiny.pt"), other).schedule.T == 500


def test_a_name_brings_its_own_flags(cache: Path) -> None:
    cache.mkdir()
    (cache / "lsun_cat.pt").write_text("never read")
    with pytest.raises(PriorError, match="lsun-cat has flags of its own"):
        load_prior("lsun-cat", SMALL)


def test_a_prior_without_an_address_is_got_by_hand(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = replace(PUBLISHED["ffhq-256"], flags=SMALL, remote=None)
    monkeypatch.setitem(PUBLISHED, "ffhq-256", by_hand)
    place = cache / "ffhq_10m.pt"
    remedy = f"get ffhq_10m.pt in a browser from {by_hand.page} and save it as {place}"
    assert main(["download", "ffhq-256"]) == 2
    error = capsys.readouterr().err
    assert remedy in error
    assert error.count("\n") == 1
    with pytest.raises(PriorError, match="not on this machine yet: get ffhq_10m"):
        load_prior("ffhq-256")
    cache.mkdir()
    saved(place, SMALL)
    assert main(["download", "ffhq-256"]) == 0
    assert hashlib.sha256(place.read_bytes()).hexdigest() in capsys.readouterr().out
    assert load_prior("ffhq-256").schedule.T == 1000
    saved(place, replace(SMALL, num_res_blocks=2))
    assert main(["download", "ffhq-256"]) == 2
    assert "belongs to another architecture" in capsys.readouterr().err
    assert place.is_file()


def test_download_lists_every_published_prior(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "--help"]) == 0
    listed = capsys.readouterr().out.splitlines()[-len(PUBLISHED) :]
    assert [line.split()[0] for line in listed] == list(PUBLISHED)
    assert "296 M parameters, 1.2 GB" in listed[0]


def test_every_published_prior_is_documented() -> None:
    page = (DOCS / "flags.md").read_text(encoding="utf-8")
    for name, prior in PUBLISHED.items():
        row = next(line for line in page.splitlines() if f"`{name}`" in line and "| `" in line)
        assert f"`{prior.file}`" in row
        assert f"| {prior.parameters / 1e6:.0f} M |" in row
        standard, own = vars(UNetFlags()), vars(prior.flags)
        for flag, value in own.items():
            shown = f"`{flag}`" if value is True else f"`{flag}` {value}"
            assert value == standard[flag] or shown in row


# ---- Downloads whose hash nobody has published ----


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FileServer]:
    """A server that offers the prior `tiny` of the architecture `SMALL`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = io.BytesIO()
    torch.save(random_weights(SMALL), content)
    with serving(content.getvalue()) as server:
        prior = PublishedPrior("tiny.pt", SMALL, 0, "", "", RemoteFile(server.address()))
        monkeypatch.setitem(PUBLISHED, "tiny", prior)
        yield server


def test_a_file_without_a_published_hash_is_checked_and_its_hash_is_told(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["download", "tiny"]) == 0
        shown = capsys.readouterr().out
        assert f"tiny is at {cache / 'tiny.pt'}" in shown
        assert hashlib.sha256(server.content).hexdigest() in shown
    assert len(server.requested) == 1
    assert load_prior("tiny").schedule.T == 1000


def test_a_file_of_another_architecture_is_deleted(server: FileServer, cache: Path) -> None:
    content = io.BytesIO()
    torch.save(random_weights(replace(SMALL, num_channels=64)), content)
    server.content = content.getvalue()
    with pytest.raises(DownloadError, match="belongs to another architecture and was deleted"):
        fetch("tiny")
    assert not list(cache.glob("tiny.pt*[!k]"))  # the lock stays


def test_a_damaged_file_is_deleted(server: FileServer, cache: Path) -> None:
    """One bit of one weight differs: every name and shape is right, and no value is infinite."""
    name, weight = max(random_weights(SMALL).items(), key=lambda item: item[1].numel())
    assert name
    place = server.content.index(weight.numpy().tobytes())
    damaged = bytearray(server.content)
    damaged[place] ^= 1
    server.content = bytes(damaged)
    with pytest.raises(DownloadError, match="differs from its checksum and was deleted"):
        fetch("tiny")
    assert not (cache / "tiny.pt").exists()


@pytest.mark.parametrize("content", [b"<html>log in</html>", b""])
def test_a_page_instead_of_a_file_is_deleted(
    server: FileServer, cache: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(DownloadError, match="was deleted: run again"):
        fetch("tiny")
    assert not (cache / "tiny.pt").exists()
