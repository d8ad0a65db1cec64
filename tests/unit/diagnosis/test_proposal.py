"""What is proposed for photos of which nothing is known."""

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.cli import main
from d2ir_pl.commands.predict import parse_options
from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Identity, Jpeg, Light
from d2ir_pl.diagnosis.measurements import Measurements, measure
from d2ir_pl.diagnosis.proposal import Proposal, explain, propose
from d2ir_pl.estimators.blur_shape import BlurShape
from d2ir_pl.estimators.edge_width import EdgeWidths
from d2ir_pl.estimators.exposure import Exposure
from d2ir_pl.estimators.jpeg_blur import before_jpeg
from d2ir_pl.image_io import as_picture, from_pillow, read_image, write_png
from d2ir_pl.operators.jpeg_transform import standard_tables
from d2ir_pl.restoration import D2IR, PosteriorMean
from d2ir_pl.restoration.configs import load

CLEAN = EXAMPLES / "clean"


def damaged(name: str, parts: list[Degradation], noise: float = 0.0) -> Tensor:
    """A clean example photo in 8 bits after degradations whose parameters are known."""
    x = read_image(CLEAN / f"{name}.png").pixels[None]
    for part in parts:
        x = part(x, part.init(x, torch.zeros(1)))
    x = x + 2 * noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return ((x[0].clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def blur(width: float | list[float], **arguments: Any) -> GaussianBlur:
    return GaussianBlur(width=width, border="reflect", **arguments)


DAMAGE: dict[str, tuple[list[Degradation], float, list[type]]] = {
    "nothing": ([], 0.0, []),
    "noise": ([], 0.08, []),
    "blur": ([blur(1.5)], 0.02, [GaussianBlur]),
    "direction": ([blur([2.5, 0.8], isotropic=False, angle=0.7)], 0.02, [GaussianBlur]),
    "darkness": ([Light(gain=0.25, map_size=0)], 0.01, [Light]),
    "jpeg": ([Jpeg(40, "4:2:0")], 0.0, [Jpeg]),
    "blur, jpeg": ([blur(1.5), Jpeg(60, "4:2:0")], 0.0, [GaussianBlur, Jpeg]),
    "blur, dark": ([blur(1.5), Light(gain=0.25, map_size=0)], 0.01, [GaussianBlur, Light]),
    "all": (
        [blur(1.8), Light(gain=0.3, map_size=0), Jpeg(70, "4:2:0")],
        0.0,
        [GaussianBlur, Light, Jpeg],
    ),
}


@cache
def proposed(damage: str, photograph: str) -> Proposal:
    """What is proposed for an example photo after one of the damages."""
    return propose(damaged(photograph, *DAMAGE[damage][:2]))


@cache
def coefficient_width_of_sharp(photograph: str, quality: int) -> float:
    """The width that the coefficients of a JPEG of a sharp example photo show."""
    table = standard_tables(torch.tensor(quality))[0]
    return before_jpeg(damaged(photograph, [Jpeg(quality, "4:2:0")]), table).width


def kinds(proposal: Proposal) -> list[str]:
    """The names of the degradations; none where there is only noise."""
    return [part["class_path"].rpartition(".")[2] for part in proposal.parts]


SEARCHED = {
    "coffee": ("blur", "direction", "blur, dark", "all"),
    "astronaut": ("direction", "all"),
    "chelsea": ("blur", "blur, dark"),
}
"""The damages for which the kernel of the edges is searched, which takes seconds a photo."""


@pytest.mark.parametrize(
    ("damage", "photograph"),
    [
        pytest.param(
            damage, photograph, marks=[pytest.mark.slow] if damage in SEARCHED[photograph] else []
        )
        for damage in DAMAGE
        for photograph in ("astronaut", "chelsea", "coffee")
        if damage in SEARCHED[photograph] or damage not in SEARCHED["coffee"]
    ],
)
def test_what_happened_to_a_photograph_is_found(damage: str, photograph: str) -> None:
    expected = DAMAGE[damage][2]
    proposal = proposed(damage, photograph)
    assert all(len(reason.splitlines()) == 1 for reason in proposal.reasons)
    if kinds(proposal)[:1] == ["Blur"]:  # a contest between kernels says which
        assert damage in ("blur, dark", "blur, jpeg")
        if damage == "blur, jpeg":  # with the width that its coefficients and its edges show
            assert proposal.parts[0]["init_args"]["width"] == pytest.approx(1.5, rel=0.2)
        assert "the shape that leads to the best image is taken" in proposal.reasons[1]
        expected = [Blur, *expected[1:]]
    assert kinds(proposal) == [kind.__name__ for kind in expected]
    if expected[:1] == [GaussianBlur] and "jpeg" not in damage and damage != "all":
        isotropic = proposal.parts[0]["init_args"]["isotropic"]
        assert isotropic == (damage != "direction")


@pytest.mark.parametrize(("quality", "noise"), [(65, 0), (80, 0.01), (95, 0), (100, 0.01)])
@pytest.mark.parametrize(
    ("photograph", "width"),
    [
        *(("astronaut", width) for width in (0.9, 2.0)),
        *(("chelsea", width) for width in (0.9, 1.4)),
        *(("coffee", width) for width in (1.4, 2.0)),
    ],
)
def test_the_coefficients_of_a_jpeg_show_the_blur_before_it(
    photograph: str, width: float, quality: int, noise: float
) -> None:
    y = damaged(photograph, [blur(width)], noise)[None]
    jpeg = Jpeg(quality, "4:2:0")
    y = jpeg(y, jpeg.init(y, torch.zeros(1)))[0]
    table = standard_tables(torch.tensor(quality))[0]
    found = before_jpeg(y, table)
    # Too narrow is the safer side.
    assert 0.6 * width <= found.width <= 1.35 * width
    luma = 255 * noise * 0.668  # of the channels' noise, in the luminance
    assert found.noise == pytest.approx(luma, abs=2)
    assert coefficient_width_of_sharp(photograph, quality) < 0.7


def test_no_shake_is_looked_for_in_a_noisy_jpeg_off_its_grid() -> None:
    y = damaged("coffee", [blur(1.6)], 0.03)
    off = damaged_as_jpeg(y, 90)[:, 3:, 5:]
    seen = measure(off)
    assert seen.jpeg_width == 0  # its coefficients are not found any more
    assert seen.uneven > 10 > 2 > measure(y).uneven
    assert explain(seen).config == "blind_deblur"


def damaged_as_jpeg(y: Tensor, quality: int) -> Tensor:
    """What is left of a photo in [-1, 1] after a JPEG of some quality."""
    file = io.BytesIO()
    as_picture(y).save(file, "JPEG", quality=quality)
    return from_pillow(Image.open(file)).pixels


def test_the_tables_of_a_file_count_and_its_pixels_may_be_turned(tmp_path: Path) -> None:
    y = damaged("coffee", [blur(1.5)])
    picture = Image.fromarray(((y + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    widths = []
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / f"{orientation}.jpg"
        picture.save(path, quality=55, exif=exif)
        seen = measure(read_image(path).pixels, read_image(path).tables)
        assert seen.from_file
        assert seen.quality == 55
        widths.append(seen.jpeg_width)
    assert widths[0] == widths[1] == pytest.approx(1.5, rel=0.3)
    good = tmp_path / "good.jpg"
    picture.save(good, quality=95)
    proposal = propose(read_image(good).pixels, read_image(good).tables)
    assert kinds(proposal) == ["GaussianBlur", "Jpeg"]
    assert any("quality of 95" in reason for reason in proposal.reasons)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 20), (64, 3)])
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_tiny_and_flat_images_have_no_blur(size: tuple[int, int], value: float) -> None:
    found = kinds(propose(torch.full((3, *size), value)))
    assert found == (["Light"] if value < 0 else [])


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_settings_are_a_config_of_the_same_objects(damage: str, tmp_path: Path) -> None:
    expected = DAMAGE[damage][2]
    proposal = proposed(damage, "coffee")
    if damage.startswith("blur, ") and kinds(proposal)[:1] == ["Blur"]:  # a contest says which
        expected = [Blur, *expected[1:]]
    file = tmp_path / "proposed.yaml"
    file.write_text(yaml.safe_dump(proposal.settings()))
    inputs = str(CLEAN / "coffee.png")
    model = parse_options(["--config", str(file), "--data.inputs", inputs]).model
    assert str(model.degradation) == str(proposal.degradation)
    assert model.degradation.estimated == proposal.degradation.estimated
    built = model.degradation.parts if isinstance(model.degradation, Compose) else None
    assert [type(p) for p in built or [model.degradation]] == (expected or [Identity])
    assert isinstance(model.method, D2IR if expected else PosteriorMean)
    if isinstance(model.method, D2IR):
        assert model.method.estimation == proposal.method.estimation  # type: ignore[attr-defined]


USUAL, DIM = Exposure(0.0, 0.0, -1.0, 0.45, 0.9), Exposure(-3.0, -3.0, 1.0, 0.1, 0.2)
# Edges that are wider at coarse scales than at fine ones, and a spectrum that no Gaussian explains.
SHAKEN: dict[str, Any] = {
    "width": 1.4,
    "edges": EdgeWidths(0.5, 1.0, 1.2, 1.5, 3.0, 4.0, 100),
    "shape": BlurShape(misfit=0.8),
}
SEEN: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "nothing": ({}, "denoising", {}),
    "blur": ({"width": 1.4}, "blind_deblur", {}),
    "direction": ({"width": 1.4, "widths": (3.0, 1.0)}, "blind_deblur_anisotropic", {}),
    "shake": ({**SHAKEN, "shaken": 999.0}, "blind_deblur_kernel", {}),
    "darkness": ({"light": DIM}, "low_light", {}),
    "jpeg": ({"quality": 40}, "jpeg", {}),
    "shake, dark": (
        {**SHAKEN, "shaken": 999.0, "light": DIM},
        "blind_deblur_kernel",
        {},
    ),
    "blur, dark": ({"width": 1.4, "light": DIM}, "low_light", {}),
    "blur, jpeg": (
        {"jpeg_width": 1.4, "quality": 40},
        "old_photo",
        {"data_weight": 0.3, "start": 70},
    ),
    "blur, noise, jpeg": (
        {"jpeg_width": 1.4, "jpeg_noise": 4.0, "quality": 90},
        "old_photo",
        {"data_weight": 0.3},
    ),
    "dark, jpeg": (
        {"light": DIM, "quality": 40},
        "old_photo",
        {"data_weight": 0.3, "start": 70},
    ),
}


@pytest.mark.parametrize("damage", SEEN)
def test_a_photo_is_restored_as_the_shipped_config_for_its_damage_says(damage: str) -> None:
    changed, config, changed_estimation = SEEN[damage]
    sharp = Measurements(0.02, 0.5, (0.5, 0.5), 0.0, 0.0, 0.0, 0.0, 100, False, USUAL)
    proposal = explain(replace(sharp, **changed))
    shipped = load(config).method
    assert proposal.config == config
    assert type(proposal.method) is type(shipped)
    if isinstance(shipped, D2IR):
        assert isinstance(proposal.method, D2IR)
        expected = replace(shipped.estimation, **changed_estimation)
        assert proposal.method.estimation == expected
        assert proposal.method.model_error == shipped.model_error


@pytest.mark.slow
def test_a_folder_of_unlike_photos_is_restored_each_in_its_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("noise", "blur"):
        y = damaged("coffee", *DAMAGE[name][:2])[:, 32:128, 32:128]
        (tmp_path / "in").mkdir(exist_ok=True)
        write_png(tmp_path / "in" / f"{name}.png", y)
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    common = ("--trainer.accelerator", "cpu", "--trainer.precision", "32-true")
    options = ["--config", "auto", "--data.inputs", str(tmp_path / "in"), *common]
    assert main(["predict", *options, "--output", str(tmp_path / "out")]) == 1
    records = {
        path.stem: json.loads(path.read_text())
        for path in (tmp_path / "out" / "degradation").glob("*.json")
    }
    assert records["noise"]["phi"]["kind"] == "Identity"
    assert records["blur"]["phi"]["kind"] == "GaussianBlur"
    assert records["empty"]["status"] == "failed"
    assert any(reason.startswith("blur: ") for reason in records["blur"]["reasons"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert records["blur"]["reasons"][0] in page

    # What 'propose' prints repeats it.
    capsys.readouterr()
    photo = tmp_path / "in" / "blur.png"
    assert main(["propose", str(photo)]) == 0
    printed = capsys.readouterr().out
    assert f"# {records['blur']['reasons'][0]}\n" in printed
    (tmp_path / "proposed.yaml").write_text(printed)
    options = ["--config", str(tmp_path / "proposed.yaml"), "--data.inputs", str(photo), *common]
    assert main(["predict", *options, "--output", str(tmp_path / "again")]) == 0
    again, first = (tmp_path / out / "restored" / "blur.png" for out in ("again", "out"))
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.degradation", "auto", "--data.degrade", "true"], "--data.degrade true needs"),
        (["--model.degradation", "auto", "--data.scenes", "true"], "--data.scenes true needs"),
        (["--model.method", "auto"], "set the degradation to auto too"),
    ],
)
def test_what_auto_cannot_do_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data.inputs", str(CLEAN), "--output", str(tmp_path / "out")]
    assert main(["predict", *where, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "restored").exists()


def test_the_function_of_one_image_chooses_too() -> None:
    y = damaged("coffee", *DAMAGE["noise"][:2])[:, 32:128, 32:128]
    result = restore((y + 1) / 2, "auto")
    assert result.parameters["kind"] == "Identity"
    assert result.reasons == propose(y).reasons
