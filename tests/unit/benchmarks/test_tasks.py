"""Every shipped task from the command line, on a real (small) photo."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import photo, save
from torch import Tensor

from d2ir_pl.cli import main
from d2ir_pl.degradations import Compose, Downsampling, GaussianBlur, Jpeg
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.shipped.files import configs_folder

FEW = [
    *("--model.method.estimation.steps", "2", "--model.method.latent.iterations", "1"),
    *("--model.method.latent.ddim_steps", "2", "--model.method.latent.fixed_point_iterations", "1"),
]
FAST = {
    "bird_deblur": ["--model.method.iterations", "1", "--model.method.ddim_steps", "2"],
    "denoising": [],  # one evaluation as it is
    **{name: ["--model.method.steps", "2"] for name in ("dps_deblur", "gdp_deblur", "ddrm_deblur")},
    **{name: ["--model.method.steps", "5"] for name in ("diffpir_deblur", "fast_em_deblur")},
    **{name: ["--model.method.steps", "2"] for name in ("ddnm_deblur", "pigdm_deblur")},
    "gibbs_ddrm_deblur": [
        *("--model.method.steps", "2", "--model.method.rounds", "1"),
        *("--model.method.kernel_iterations", "2"),
    ],
    "red_diff_deblur": ["--model.method.steps", "2"],
    "daps_deblur": ["--model.method.annealing_steps", "2", "--model.method.langevin_steps", "2"],
}
TASKS = sorted(p.stem for p in configs_folder().glob("*.yaml") if not p.stem.startswith("train"))
TASKS.remove("auto")  # which has nothing to degrade with: see test_proposal.py


def row(output: Path) -> dict[str, str]:
    with (output / "metrics.csv").open(newline="") as file:
        (only,) = csv.DictReader(file)
    return only


@pytest.mark.parametrize("config", TASKS)
def test_a_clean_photo_is_degraded_and_restored(config: str, tmp_path: Path) -> None:
    height, width = 35, 43  # no multiples of anything
    save(tmp_path / "clean.png", 1, height, width)
    kernel = tmp_path / "kernel.npy"
    np.save(kernel, np.full((5, 5), 1 / 25))
    options = FAST.get(config, FEW)
    if config == "deblur_varying":
        np.save(kernel, np.full((2, 2, 5, 5), 1 / 25))
        options = [*options, "--model.degradation.kernels", str(kernel)]
    if config == "deblur":
        options = [*options, "--model.degradation.kernel", str(kernel)]
    if config == "blind_deblur_kernel":  # edges show one where the photo is three times its size
        options = [*options, "--model.degradation.kernel_size", "11"]
    where = ["--data.inputs", str(tmp_path / "clean.png"), "--output", str(tmp_path / "out")]
    assert main(["predict", "--config", config, *where, "--data.degrade", "true", *options]) == 0
    restored = read_image(tmp_path / "out" / "restored" / "clean.png").pixels
    factors = {"super_resolution_x4": 4, "super_resolution_aliased": 4}
    factors |= {"super_resolution_blind": 2, "old_photo": 2}
    factor = factors.get(config, 1)
    assert restored.shape == (3, height // factor * factor, width // factor * factor)
    scores = row(tmp_path / "out")
    assert float(scores["psnr"]) > 5
    assert float(scores["input_psnr"]) > 5


def pair(root: Path, y: Tensor, clean: Tensor) -> list[str]:
    """Write a degraded and a clean photo of one name, and name them as inputs and references."""
    for folder, pixels in (("in", y), ("clean", clean)):
        (root / folder).mkdir()
        write_png(root / folder / "a.png", pixels)
    return ["--data.inputs", str(root / "in"), "--data.references", str(root / "clean")]


def test_super_resolution_enlarges_and_is_scored_against_the_large_photo(tmp_path: Path) -> None:
    large = torch.nn.functional.avg_pool2d(photo(0, 96, 128)[None], 2)[0]
    small = torch.nn.functional.interpolate(large[None], scale_factor=0.25, mode="area")[0]
    task = ["--config", "super_resolution_x4", *FEW, "--model.method.estimation.steps", "5"]
    task += pair(tmp_path, small, large)
    assert main(["predict", *task, "--output", str(tmp_path / "out")]) == 0
    assert read_image(tmp_path / "out" / "restored" / "a.png").pixels.shape == large.shape
    scores = row(tmp_path / "out")
    assert float(scores["input_psnr"]) > 10
    write_png(tmp_path / "clean" / "a.png", small)
    assert main(["predict", *task, "--output", str(tmp_path / "again")]) == 1
    assert "is 12x16, not 48x64" in row(tmp_path / "again")["reason"]


def test_a_small_blurred_jpeg_comes_back_larger_and_better_than_enlarged(tmp_path: Path) -> None:
    told = Compose([GaussianBlur(width=1.2), Downsampling(2), Jpeg(70, "4:2:0")])
    example = configs_folder().parent / "examples" / "clean" / "astronaut.png"
    clean = read_image(example).pixels[:, 32:144, 64:192]
    y = told(told.frame.embed(clean[None]), told.init(clean[None], torch.zeros(1)))[0]
    task = ["--config", "old_photo", "--model.method.estimation.steps", "6"]
    task += pair(tmp_path, y, clean)
    assert main(["predict", *task, "--output", str(tmp_path / "out")]) == 0
    assert read_image(tmp_path / "out" / "restored" / "a.png").pixels.shape == clean.shape
    scores = row(tmp_path / "out")
    assert float(scores["psnr"]) > float(scores["input_psnr"]) + 0.5


def test_the_photos_of_a_folder_are_one_scene(tmp_path: Path) -> None:
    scene = (photo(0, 40, 48) + 1) / 2
    for name in ("one", "two"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i, gain in enumerate((0.25, 1.0, 4.0)):
            pixels = 2 * (gain * scene).clamp(0, 1) - 1
            write_png(tmp_path / "in" / name / f"{i}.png", pixels)
    write_png(tmp_path / "in" / "two" / "2.png", photo(0, 48, 40))
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["predict", "--config", "hdr", *where, "--data.scenes", "true", *FEW]) == 1
    assert read_image(tmp_path / "out" / "restored" / "one.png").pixels.shape == (3, 40, 48)
    assert not (tmp_path / "out" / "restored" / "two.png").exists()
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        reasons = {r["name"]: r["reason"] for r in csv.DictReader(file)}
    assert "2.png is 48x40, not 40x48 as the first of its scene" in reasons["two"]


def test_masks_are_found_by_the_names_of_the_photos(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.png", 0, 40, 48)
    mask = torch.ones(3, 40, 48)
    mask[:, 10:20, 10:30] = -1
    (tmp_path / "masks").mkdir()
    write_png(tmp_path / "masks" / "a.png", mask)
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    masks = ["--model.degradation.source", str(tmp_path / "masks")]
    assert main(["predict", "--config", "inpainting", *where, *masks, *FEW]) == 1
    assert (tmp_path / "out" / "restored" / "a.png").is_file()
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        reasons = {r["name"]: r["reason"] for r in csv.DictReader(file)}
    assert "mask" in reasons["b"]


def test_a_grey_photo_comes_back_in_colour(tmp_path: Path) -> None:
    grey = photo(0, 40, 48)[:1].expand(3, -1, -1)
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "a.png", grey, grey=True)
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["predict", "--config", "colorization", *where, *FEW]) == 0
    pixels = read_image(tmp_path / "out" / "restored" / "a.png").pixels
    assert float((pixels[0] - pixels[2]).abs().max()) > 0.01
    assert main(["predict", *where[:3], str(tmp_path / "blur"), *FEW]) == 0
    assert read_image(tmp_path / "blur" / "restored" / "a.png").grey


def test_holes_stay_holes_when_a_clean_photo_is_degraded(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0, 40, 48)
    where = ["--data.inputs", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    degrade = ["--data.degrade", "true", "--data.degrade_noise", "0.05"]
    assert main(["predict", "--config", "inpainting", *where, *degrade, *FEW]) == 0
    degraded = read_image(tmp_path / "out" / "degraded" / "a.png").pixels
    assert 0.4 < float((degraded == -1).all(0).float().mean()) < 0.6
