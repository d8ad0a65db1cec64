"""The field's protocols: their kernels, masks and noise, their tables, and a run that goes on."""

import math
import statistics
from pathlib import Path

import pytest
import torch
from photos import photo, save
from scipy.stats import triang

from benchmarks import protocol
from benchmarks.budgets import cut
from benchmarks.methods import asked
from benchmarks.protocol_tables import listing, reported
from benchmarks.protocol_tasks import degraded, pictures
from benchmarks.protocols import PROTOCOLS, Clipped, photograph
from benchmarks.scores import fid, kernel_rmse
from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.operators.kernels import kernel_centroid
from d2ir_pl.operators.shake_paths import _triangular, trajectory_kernel, walk, walked_kernel
from d2ir_pl.restoration.baselines import BIRD, DAPS, DDNM, GibbsDDRM


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image(size: int = 96) -> torch.Tensor:
    return 1.6 * torch.rand(3, size, size, generator=generator(5)) - 0.8


# ---- The laws of the kernels ----


def test_walks_are_as_long_as_their_law_says() -> None:
    """The mean length is 0.75 d (1/2 + i^2 / 2), and half a step or so more."""
    lengths = []
    for seed in range(200):
        path = walk(generator(seed), 61, 0.5)
        lengths.append(float((path[1:] - path[:-1]).norm(dim=1).sum()))
    diagonal = 61 * math.sqrt(2)
    assert max(lengths) < 0.75 * diagonal * 1.25 + diagonal / 5
    assert statistics.fmean(lengths) == pytest.approx(0.75 * diagonal * 0.625, rel=0.15)


def test_nearly_straight_walks_have_no_intensity() -> None:
    path = walk(generator(1), 61, 0.0)
    steps = path[1:] - path[:-1]
    angles = torch.atan2(steps[:, 1], steps[:, 0])
    assert float(angles.max() - angles.min()) <= 0.2 + 1e-9


def test_angles_follow_the_triangular_distribution() -> None:
    for u in (0.01, 0.3, 0.5, 0.99):
        expected = triang(0.4, scale=1.5).ppf(u)
        assert _triangular(u, 0.6, 1.5) == pytest.approx(expected)


def test_a_walk_is_drawn_as_a_line_of_one_brightness() -> None:
    kernel = walked_kernel(generator(3), 61)
    assert torch.equal(kernel, walked_kernel(generator(3), 61))
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert float(kernel.min()) >= 0
    # Nothing of it is brighter than a point right under the pen.
    on_the_line = kernel[kernel > 0.5 * kernel.max()]
    assert float(on_the_line.mean()) > 0.7 * float(kernel.max())


def test_a_trajectory_keeps_its_length_and_its_middle() -> None:
    kernel = trajectory_kernel(generator(2), 61)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert float(kernel_centroid(kernel[None]).abs().max()) < 0.5
    places = (kernel > 0.01 * kernel.max()).nonzero()
    assert 5 < float((places.amax(0) - places.amin(0)).max()) <= 61


def test_the_error_of_a_kernel_does_not_count_a_shift() -> None:
    kernel = walked_kernel(generator(4), 31)
    moved = torch.zeros(41, 41)
    moved[2:33, 7:38] = kernel
    assert kernel_rmse(moved, kernel) == pytest.approx(0, abs=1e-6)
    flat = torch.full((31, 31), 1 / 31**2)
    point = torch.zeros(31, 31)
    point[15, 15] = 1
    expected = float((flat - point).square().mean().sqrt())
    assert kernel_rmse(flat, point) == pytest.approx(expected, rel=1e-4)


# ---- Degradations and noise ----


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_added_to_the_degraded_photograph_is_the_noise(name: str) -> None:
    clean = image()
    task = degraded(PROTOCOLS[name], "a", clean, 0.05)
    again = degraded(PROTOCOLS[name], "a", clean, 0.05)
    assert torch.equal(task.y, again.y)
    exact = degraded(PROTOCOLS[name], "a", clean, 0.0)
    added = task.y - exact.y
    seen = added[added != 0]
    assert float(seen.std()) == pytest.approx(0.05, rel=0.1)
    assert torch.equal(task.reference[0], clean)


def test_masks_leave_out_what_the_protocol_says() -> None:
    size = (256, 256)
    box = PROTOCOLS["box"].draw(generator(), size).phi["mask"][0, 0]
    rows, columns = (box == 0).nonzero().unbind(1)
    assert len(rows) == 128**2
    for places in (rows, columns):
        assert int(places.max() - places.min()) == 127
        assert 16 <= int(places.min()) <= int(places.max()) <= 256 - 16 - 1
    for name, share in (("random70", 0.3), ("random92", 0.08)):
        mask = PROTOCOLS[name].draw(generator(), size).phi["mask"]
        assert float(mask.mean()) == pytest.approx(share, abs=1e-4)


def test_clipping_says_nothing_where_it_clips_and_is_linear_below() -> None:
    family = Clipped()
    x = torch.tensor([-0.9, -0.3, 0.0, 0.4, 0.8]).repeat(1, 3, 2, 1)
    phi = Phi(none=torch.zeros(1, 0))
    y = family(x, phi)
    assert torch.allclose(y[0, 0, 0], torch.tensor([-1.0, -0.6, 0.0, 0.8, 1.0]))
    operator, residual = family.linearize(y, x, phi)
    assert float(residual.abs().max()) == 0
    v = torch.ones_like(x)
    assert operator.forward(v)[0, 0, 0].tolist() == [0, 2, 2, 2, 0]


def test_methods_look_for_a_kernel_of_the_protocols_side() -> None:
    task = degraded(PROTOCOLS["motion"], "a", image(), 0.05)
    for method in ("d2ir", "gibbs_ddrm", "fast_em"):
        family = asked(task, method)
        assert isinstance(family, Blur)
        assert family.kernel_size == 61


def test_a_photograph_is_its_middle_square() -> None:
    wide = torch.zeros(3, 100, 200)
    wide[:, :, 60:140] = 1
    square = photograph(wide, 50)
    assert square.shape == (3, 50, 50)
    assert float(square[:, :, 8:-8].min()) > 0.95


# ---- Budgets and tables ----


def test_a_budget_shortens_methods_that_take_more() -> None:
    few = cut(DDNM(100), 30)
    assert isinstance(few, DDNM)
    assert few.steps == 30
    daps = cut(DAPS(50, 2), 30)
    assert isinstance(daps, DAPS)
    assert daps.annealing_steps * daps.ode_steps == 30
    gibbs = cut(GibbsDDRM(), 60)
    assert isinstance(gibbs, GibbsDDRM)
    assert gibbs.steps * (1 + gibbs.kernel_start * gibbs.rounds) <= 60
    bird = cut(BIRD(), 60)
    assert isinstance(bird, BIRD)
    assert bird.iterations * bird.ddim_steps == 60
    short = DDNM(10)
    assert cut(short, 30) is short


def test_every_reported_line_has_a_source_and_says_that_it_was_not_run() -> None:
    for known in PROTOCOLS.values():
        for line in known.reported:
            assert line.source
            assert line.prior
            assert any(v is not None for v in (line.psnr, line.lpips, line.fid))
        text = reported(known)
        lines = text.splitlines()[2:]
        assert len(lines) == len(known.reported)
        assert all(line.endswith("| not run here |") for line in lines)
        assert known.papers


def test_a_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "field.csv"
    options = ["--protocol", "sr4,hdr", "--size", "32", "--limit", "1", "--precision", "fp32"]
    options += ["--evaluations", "3", "--record", str(record), "--methods", "d2ir,ddrm,daps"]
    protocol.main(options)
    text = capsys.readouterr().out
    assert "| DDRM, cut to 3 | yes | 1 |" in text
    assert "hdr: without ddrm, as the singular values of Clipped are not known" in text
    assert "FID" not in text.partition("Reported by papers")[0]  # an empty column
    assert "| not run here |" in text
    assert (tmp_path / "field").is_dir()
    monkeypatch.setattr(protocol, "run", None)
    protocol.main([*options[:1], "sr4", *options[2:]])
    again = capsys.readouterr().out
    assert again.strip().splitlines()[0] in text
    assert "dB (" not in again  # nothing is restored again


def test_a_distance_between_distributions_needs_its_network() -> None:
    assert fid(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)) is None
    x = torch.stack([photo(seed, 64, 64) for seed in range(4)])
    distance = fid(x, x)
    if distance is None:
        pytest.skip("torch-fidelity or its network is not there")
    noisy = fid((x + 0.3 * torch.randn(x.shape, generator=generator())).clamp(-1, 1), x)
    assert noisy is not None
    assert abs(distance) < 1 < noisy


def test_a_method_that_does_not_serve_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--size", "32", "--limit", "2", "--precision", "fp32", "--evaluations", "2"]
    protocol.main(["--protocol", "hdr", "--methods", "ddrm,d2ir", *few])
    assert capsys.readouterr().out.count("without ddrm") == 1


def test_photographs_of_one_name_in_two_folders_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("dogs", "cats"):
        save(tmp_path / folder / "1.png", 1, 40, 40)
    save(tmp_path / "small.png", 1, 20, 40)
    (tmp_path / "broken.png").write_text("no image")
    assert [name for name, _ in pictures(tmp_path, 32, None)] == ["cats_1", "dogs_1"]
    told = capsys.readouterr().out
    assert "left out: small.png is smaller than 32x32" in told
    assert "broken.png" in told
    assert [name for name, _ in pictures(tmp_path, 32, 1)] == ["cats_1"]


def test_results_of_another_folder_of_photographs_are_not_taken_for_these(tmp_path: Path) -> None:
    labels = {
        protocol.Options("natural-small", images=images).label("sr4")
        for images in (None, tmp_path / "faces", tmp_path / "cats")
    }
    assert len(labels) == 3


def test_the_list_names_every_protocol_and_its_papers() -> None:
    lines = listing().splitlines()[2:]
    assert len(lines) == len(PROTOCOLS)
    for line, (name, known) in zip(lines, PROTOCOLS.items(), strict=True):
        assert line.startswith(f"| {name} | {known.about} | {known.noise:g} |")
        assert all(paper in line for paper in known.papers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "shake"], "'shake' is unknown: use"),
        (["--methods", "magic"], "'magic' is unknown: use"),
        (["--noise", "-1"], "--noise -1.0 must be at least 0"),
        (["--evaluations", "0"], "--evaluations 0 must be at least 1"),
        (["--size", "8"], "--size 8 must be at least 32"),
        (["--images", "nowhere"], "nowhere holds no photographs: give a folder"),
        (["--size", "4096"], "no photograph has 4096x4096 pixels: give others"),
        (["--prior", "nothing"], "prior 'nothing' is neither a file nor one of the names"),
        (["--record", "/proc/none/a.csv"], "/proc/none/a.csv cannot be written"),
    ],
)
def test_mistakes_are_named_in_a_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        protocol.main(options)
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
