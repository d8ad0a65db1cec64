"""A module is made again from a checkpoint of its own, and a stranger's checkpoint runs nothing."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from photos import photo
from torch import Generator, Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Jpeg, Phi
from d2ir_pl.errors import InputError
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors import UNetPrior, load_prior
from d2ir_pl.priors.export import save_prior
from d2ir_pl.restoration import D2IR, DegradationEstimation
from d2ir_pl.restoration.baselines import DDRM
from d2ir_pl.restoration.description import described, made


class Shade(Degradation):
    """A degradation of one's own, with a tensor among its arguments."""

    def __init__(self, level: float, tint: Tensor, parts: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.factor = 1 - level
        self.parts = parts
        self.register_buffer("tint", tint)

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return Phi(none=y.new_zeros(len(y), 0))

    def draw(self, generators: list[Generator], like: Tensor) -> Phi:  # type: ignore[override]
        return Phi(none=like.new_zeros(len(generators), 0))

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return self.factor * x * self.tint.to(x)  # type: ignore[operator]

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"kind": "Shade"}] * phi.count


class Shaded(RestorationModule):
    """A module of one's own, which chooses the degradation itself."""

    def __init__(self, level: float, **options: Any) -> None:
        super().__init__(degradation=Shade(level, torch.ones(3, 1, 1)), **options)
        self.level = level


def saved(module: RestorationModule, path: Path) -> Path:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path


def quick(**options: Any) -> RestorationModule:
    method = D2IR(DegradationEstimation(steps=2), stages="estimation")
    return RestorationModule(**{"method": method, **options})


KERNEL = torch.eye(5)[None] / 5


@pytest.mark.parametrize(
    "degradation",
    [
        GaussianBlur(),
        GaussianBlur(width=1.5, border="reflect"),
        Blur(kernel_size=5).told(Phi(logits=KERNEL)),
        Compose([GaussianBlur(), Jpeg(50)]),
        Shade(0.25, torch.tensor([0.5, 1.0, 0.75])[:, None, None], parts=(1, 2)),
    ],
)
def test_what_is_described_is_made_again(degradation: Degradation) -> None:
    again = made(described(degradation))
    assert type(again) is type(degradation)
    assert described(again) == described(degradation)
    x = photo(0, 48, 48)[None]
    phi = degradation.draw([Generator().manual_seed(1)], x)
    theirs = again.draw([Generator().manual_seed(1)], x)
    assert torch.equal(again(x, theirs), degradation(x, phi))
    assert again.free(theirs) == degradation.free(phi)


def test_a_module_is_made_again_from_its_checkpoint(tmp_path: Path) -> None:
    module = quick(degradation=GaussianBlur(width=1.5), seed=7, sigma_y=0.02, tile=128)
    path = saved(module, tmp_path / "module.ckpt")
    assert path.stat().st_size < 20_000, "the weights of the prior lie in its own file"
    torch.load(path, weights_only=True)
    again = RestorationModule.load_from_checkpoint(path)
    assert dict(again.hparams) == dict(module.hparams)
    x = ((photo(0) + 1) / 2)[None]
    before, after = (m.predict_step(x).results[0].image for m in (module, again))
    assert torch.equal(before, after)
    other = RestorationModule.load_from_checkpoint(path, seed=8, method=DDRM())
    assert (other.seed, other.sigma_y, type(other.method)) == (8, 0.02, DDRM)


def test_the_settings_are_plain_values_for_loggers() -> None:
    hparams = quick(degradation=GaussianBlur(width=1.5)).hparams
    blur = {"class_path": "d2ir_pl.degradations.GaussianBlur", "init_args": {"width": 1.5}}
    assert hparams["degradation"] == blur
    assert hparams["method"]["class_path"] == "d2ir_pl.restoration.D2IR"
    assert hparams["method"]["init_args"]["estimation"]["init_args"]["steps"] == 2
    chosen = RestorationModule(degradation="auto", method="auto").hparams
    assert (chosen["degradation"], chosen["method"]) == ("auto", "auto")


def test_a_module_of_ones_own_is_made_again_as_it_was_called(tmp_path: Path) -> None:
    path = saved(Shaded(0.25, seed=3), tmp_path / "shaded.ckpt")
    again = Shaded.load_from_checkpoint(path)
    assert (type(again), again.level, again.seed) == (Shaded, 0.25, 3)
    assert type(again.degradation) is Shade


def altered(path: Path, **arguments: Any) -> Path:
    """The checkpoint with other arguments, as a stranger might write them."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["module_arguments"] |= arguments
    torch.save(checkpoint, path)
    return path


class Shout:
    """Something that must not be made."""

    def __init__(self, path: str) -> None:
        Path(path).touch()


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "pathlib.Path.touch",
        f"{__name__}.Shout",
        "antigravity.fly",
        "d2ir_pl.cli.main",
        "d2ir_pl.restoration.configs.Path",
        "d2ir_pl.degradations.Degradation",
    ],
)
def test_a_strangers_checkpoint_makes_nothing_else(tmp_path: Path, path: str) -> None:
    wanted = {"class_path": path, "init_args": {"path": str(tmp_path / "shouted")}}
    checkpoint = altered(saved(quick(), tmp_path / "m.ckpt"), degradation=wanted)
    with pytest.raises(InputError, match=f"the class {path} of the checkpoint is not known"):
        RestorationModule.load_from_checkpoint(checkpoint)
    assert not (tmp_path / "shouted").exists()
    # What is replaced is not made.
    RestorationModule.load_from_checkpoint(checkpoint, degradation=GaussianBlur())


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"module_arguments": Code(), "state_dict": {}}, tmp_path / "code.ckpt")
    with pytest.raises(InputError, match="is no checkpoint of plain values and tensors"):
        RestorationModule.load_from_checkpoint(tmp_path / "code.ckpt")
    assert not (tmp_path / "touched").exists()


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.ckpt does not exist$"):
        RestorationModule.load_from_checkpoint(tmp_path / "nowhere.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"is no checkpoint that a RestorationModule has saved$"):
        RestorationModule.load_from_checkpoint(tmp_path / "other.ckpt")
    path = saved(quick(), tmp_path / "m.ckpt")
    other = load_prior()
    assert isinstance(other, UNetPrior)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    save_prior(other, tmp_path / "other.safetensors", {})
    with pytest.raises(InputError, match=r"other\.safetensors is not the one .* prior=$"):
        RestorationModule.load_from_checkpoint(path, prior=str(tmp_path / "other.safetensors"))
    loud = {"class_path": "d2ir_pl.restoration.D2IR", "init_args": {"volume": 3}}
    altered(path, method=loud)
    with pytest.raises(InputError, match="volume is not an argument of the installed version"):
        RestorationModule.load_from_checkpoint(path)
