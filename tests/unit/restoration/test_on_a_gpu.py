"""Every degradation and method on a pretended GPU: what it refuses, launches and waits for."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from degradation_examples import EXAMPLES, scene
from gaussian_prior import GaussianPrior
from photos import photo
from torch import Tensor

from benchmarks.pretended_device import Account, Count, can_pretend, pretended_gpu
from d2ir_pl.batches.attempts import Attempts, Outcome
from d2ir_pl.degradations import Blur, DefocusBlur, Degradation, GaussianBlur, Phi
from d2ir_pl.diffusion import Timestep
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.kernel_refit import refitted
from d2ir_pl.operators.order import kth_smallest, median, nanmedian
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import (
    D2IR,
    DegradationEstimation,
    LatentOptimization,
    PosteriorMean,
    Problem,
    Restoration,
    RestorationMethod,
    degradation_estimation,
)
from d2ir_pl.restoration.baselines import BIRD, DDRM, DPS, GDP, DiffPIR, FastDiffusionEM
from d2ir_pl.restoration.provenance import provenance

pytestmark = pytest.mark.skipif(
    not can_pretend(), reason="PyTorch's inner parts that a pretended GPU is made of have moved"
)
FEW = DegradationEstimation(steps=2)
METHODS: dict[str, RestorationMethod] = {
    "proximal": D2IR(FEW, stages="estimation"),
    "guidance": D2IR(replace(FEW, consistency="guidance"), stages="estimation"),
    "latent": D2IR(latent=LatentOptimization(1, discrepancy=0.0), stages="latent"),
    "GDP": GDP(steps=2),
    "DPS": DPS(steps=2),
    "DDRM": DDRM(steps=2),
    "DiffPIR": DiffPIR(steps=2),
    "BIRD": BIRD(2, ddim_steps=2),
    "EM": FastDiffusionEM(2),
    "mean": PosteriorMean(),
}
COLUMNS = ("start", *METHODS)
BUDGETS = """
Blur                                            | 30/6   230/0  195/0  85/1   65/0   55/0   -      380/0  90/0   360/0  -
GaussianBlur                                    | 20/6   150/0  110/0  85/1   60/0   55/0   65/0   55/0   75/0   -      -
GaussianBlur anisotropic, reflect               | 30/6   250/0  170/0  95/1   85/0   65/0   -      590/0  105/0  -      -
MotionBlur                                      | 20/6   185/0  145/0  95/1   100/0  65/0   -      395/0  120/0  -      -
MotionBlur of known angle, reflect              | 20/6   230/0  150/0  100/1  90/0   70/0   -      595/0  110/0  -      -
DefocusBlur                                     | 20/6   150/0  115/0  85/1   70/0   60/0   -      385/0  90/0   -      -
Blur of light                                   | 50/6   380/0  325/0  150/1  130/0  120/0  -      -      155/0  610/0  -
GaussianBlur of light, reflect                  | 40/6   280/0  215/0  155/1  130/0  125/0  -      -      145/0  -      -
Downsampling bicubic                            | 15/4   115/0  40/0   70/1   35/0   45/0   55/0   35/0   45/0   -      -
Downsampling area, reflect                      | 15/4   115/0  40/0   70/1   35/0   45/0   55/0   35/0   45/0   -      -
Downsampling gaussian                           | 20/6   330/2  235/0  70/1   65/0   45/0   60/0   40/0   85/0   -      -
Downsampling gaussian, known, centred           | 15/4   115/0  40/0   70/1   35/0   45/0   60/0   40/0   45/0   -      -
Mask zeros                                      | 55/7   45/0   40/0   -      35/0   45/0   50/0   35/0   50/0   -      -
Mask box                                        | 20/7   45/0   40/0   -      35/0   45/0   50/0   35/0   50/0   -      -
Grayscale                                       | 20/5   50/0   40/0   75/1   35/0   45/0   50/0   35/0   45/0   -      -
Grayscale weights                               | 20/5   50/0   40/0   75/1   35/0   45/0   50/0   35/0   45/0   -      -
Identity                                        | 175/9  35/0   35/0   -      30/0   40/0   45/0   25/0   40/0   -      10/2
Light                                           | 80/5   235/0  230/0  80/1   55/0   50/0   -      -      75/0   -      -
Light as an exposure                            | 85/8   395/0  390/0  140/1  110/0  110/0  -      -      130/0  -      -
Light of known gain, per channel, gamma         | 80/5   295/0  290/0  95/1   75/0   65/0   -      -      95/0   -      -
Exposures                                       | 115/3  250/0  255/0  90/1   65/0   65/0   -      -      85/0   -      -
Exposures of known gains, darkest               | 40/4   55/0   60/0   90/1   55/0   65/0   -      -      65/0   -      -
Fading                                          | 30/3   215/0  210/0  75/1   50/0   45/0   -      45/0   70/0   -      -
Jpeg                                            | 60/17  55/0   90/0   125/1  85/0   95/0   -      -      95/0   -      -
Jpeg of known quality                           | 60/17  55/0   90/0   125/1  85/0   95/0   -      -      95/0   -      -
Compose blur, downsampling                      | 25/7   385/0  250/0  90/1   65/0   60/0   -      -      85/0   -      -
Compose blur, mask                              | 310/10 280/0  215/0  90/1   70/0   60/0   -      -      90/0   -      -
Compose of one                                  | 20/5   50/0   40/0   75/1   35/0   45/0   -      -      45/0   -      -
VaryingBlur                                     | 15/4   220/0  55/0   90/1   50/0   60/0   -      1310/0 60/0   -      -
Stripes, the example of docs/own_degradation.md | 20/3   105/0  100/0  70/1   35/0   40/0   -      35/0   55/0   -      -
"""  # noqa: E501
"""Kernels and waits, of the start and of a step of each method, at most. They may only fall."""


class FreePrior(GaussianPrior):
    """A prior whose kernels are not counted, as those of a network are not.

    Args:
        account: of the device.
    """

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        with self._account.aside():
            return super().predict_eps(x_t, t)


@dataclass
class Photos:
    """Degraded photos on the CPU, their degradation, and generators for their noise."""

    y: Tensor
    degradation: Degradation

    @classmethod
    def of(cls, degradation: Degradation) -> Photos:
        y = scene(degradation, 2, torch.float32)[3]
        return cls(y + 0.02 * normal_like(y, cls.generators()), degradation)

    @staticmethod
    def generators() -> list[torch.Generator]:
        return [image_generator(0, str(i)) for i in range(2)]

    def problem(
        self, device: str, phi: Phi | None = None, sigma_y: Tensor | None = None
    ) -> Problem:
        """The problem on a device, with what was read off the photos before."""
        family = copy.deepcopy(self.degradation).to(device)
        for part in family.modules():
            if isinstance(part, Blur):  # whose kernel would be found by trying
                part.start = "spectrum"
        if phi is not None:
            vars(family)["init"] = lambda y, sigma_y: phi
        made = Problem.of(self.y.to(device), family, self.generators(), sigma_y)
        return replace(made, estimated=True)


def steps(account: Account, method: RestorationMethod, problem: Problem) -> list[Count]:
    """What each step but the first asks of the device."""
    seen: list[Count] = []
    method.restore(problem, FreePrior(account), lambda step: seen.append(account.count))
    return [b - a for a, b in itertools.pairwise(seen)]


def suits(method: RestorationMethod, problem: Problem) -> bool:
    try:
        method.check(problem.degradation, GaussianPrior())
    except ValueError:
        return False
    return True


def measured(name: str, budget: dict[str, Count]) -> dict[str, tuple[Count, Counter[str]]]:
    """What the start and the last step of every method ask of the device, and by which lines.

    Beyond its budget a method is run once more, as some things are made once for a device.
    """
    photos, found = Photos.of(EXAMPLES[name]), {}
    with pretended_gpu() as gpu:
        photos.problem("cuda").init()  # what is made once for a device and a size
        before, lines = gpu.count, gpu.kernels + gpu.waits
        start = photos.problem("cuda")
        phi, sigma_y = start.init(), start.sigma_y
        found["start"] = gpu.count - before, gpu.kernels + gpu.waits - lines
        for title, method in METHODS.items():
            if not suits(method, start):
                continue
            for _ in range(2):
                lines = gpu.kernels + gpu.waits
                taken = steps(gpu, method, photos.problem("cuda", phi, sigma_y))
                if not taken:
                    break
                found[title] = taken[-1], gpu.kernels + gpu.waits - lines
                if title not in budget or within(taken[-1], budget[title]):
                    break
    return found


def within(count: Count, budget: Count) -> bool:
    return count.kernels <= budget.kernels and count.waits <= budget.waits


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_step_asks_for_no_more_than_its_budget(name: str) -> None:
    rows = [row for row in BUDGETS.splitlines() if row.partition("|")[0].strip() == name]
    cells = rows[0].partition("|")[2].split() if rows else ["-"] * len(COLUMNS)
    budget = {
        title: Count(*map(int, cell.split("/")))
        for title, cell in zip(COLUMNS, cells, strict=True)
        if cell != "-"
    }
    found = measured(name, budget)
    assert rows, f"{name} has no budget: add what was found, {found}"
    assert set(found) == set(budget)
    for title, (count, lines) in found.items():
        most = "\n".join(f"{n} {line}" for line, n in lines.most_common(12))
        kernels, waits = budget[title].kernels, budget[title].waits
        assert count.kernels <= kernels, f"{title} launches {count.kernels} kernels:\n{most}"
        assert count.waits <= waits, f"{title} waits {count.waits} times:\n{most}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_gpu_restores_as_a_cpu_does_by_deterministic_kernels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = Photos.of(EXAMPLES[name])
    method = D2IR(FEW, LatentOptimization(1, ddim_steps=2, discrepancy=0.5))
    here = photos.problem("cpu")
    phi = here.init()
    expected = method.restore(photos.problem("cpu", phi), GaussianPrior())
    monkeypatch.setattr(torch, "get_deterministic_debug_mode", lambda: 2)  # for the GPU alone
    with pretended_gpu() as gpu:
        read = photos.problem("cuda").init().to("cpu")
        problem = photos.problem("cuda", phi.to("cuda"))
        found = method.restore(problem, FreePrior(gpu)).cpu()
    for key, value in phi.items():
        assert torch.allclose(read[key].double(), value.double(), atol=1e-4)
    assert torch.allclose(found.x0, expected.x0, atol=2e-3)
    assert found.nfe == expected.nfe


def test_a_step_asks_for_no_more_the_more_starts_the_photos_of_a_batch_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Levels of each photo ask for some kernels more than one for all, and for no wait."""
    y = scene(DefocusBlur(11), 2, torch.float32)[3].repeat(2, 1, 1, 1)
    method = D2IR(DegradationEstimation(start="auto", steps=3), stages="estimation")

    def asked(gpu: Account, found: list[int]) -> list[Count]:
        monkeypatch.setattr(degradation_estimation, "starts", lambda *_: found)
        generators = [image_generator(0, str(b)) for b in range(4)]
        return steps(gpu, method, Problem.of(y.to("cuda"), DefocusBlur(11), generators))

    with pretended_gpu() as gpu:
        asked(gpu, [50, 100, 150, 200])
        one, two, four = (
            asked(gpu, found)
            for found in ([100, 100, 100, 100], [50, 50, 100, 100], [50, 70, 90, 100])
        )
    assert [count.waits for count in (*one, *two, *four)] == [0] * 6
    for same, some, each in zip(one, two, four, strict=True):
        assert each.kernels == some.kernels <= same.kernels + 60


def test_what_is_filled_in_of_a_second_batch_is_waited_for_no_more() -> None:
    photos = Photos.of(EXAMPLES["GaussianBlur"])
    with pretended_gpu() as gpu:
        for _ in range(2):
            problem = photos.problem("cuda")
            phi = problem.init()
            made = problem.result(problem.guess(phi), phi, nfe=0, stopped_by="steps", losses={})
            before = gpu.count
            provenance(problem, made)
            asked = gpu.count - before
    assert asked.waits == 0
    assert asked.kernels <= 550


@pytest.mark.parametrize(("sides", "most"), [((9,), 1900), ((9, 9, 9), 1930), ((9, 15, 7), 2030)])
def test_kernels_are_fitted_again_without_waiting(sides: tuple[int, ...], most: int) -> None:
    """Of a hundred iterations, each asks for twenty kernels at most, however many are fitted."""
    x = (photo(0, 64, 64).mean(0) + 1) / 2
    with pretended_gpu() as gpu:
        there = x.to("cuda").expand(len(sides), -1, -1)
        kernels = [torch.full((k, k), 1 / k**2).to("cuda") for k in sides]
        doubts = [0.5] * len(sides)
        refitted(there, there, kernels, doubts)  # what is made once for a size
        before = gpu.count
        refitted(there, there, kernels, doubts)
        asked = gpu.count - before
    assert asked.waits == 0
    assert asked.kernels <= most


def test_a_gpu_refuses_what_it_cannot_do() -> None:
    with pretended_gpu() as gpu:
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert (there + torch.tensor(1.0)).device == there[[0, 1]].device
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="two devices"):
            torch.cat([there, here])
        with pytest.raises(RuntimeError, match="indices"):
            here[torch.tensor([0], device="cuda")]
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, device="cuda", generator=torch.Generator())
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        before = gpu.count
        assert float(there.sum()) == 3
        assert gpu.count - before == Count(2, 1)


def test_an_order_statistic_is_the_same_on_every_device() -> None:
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    holes = x.masked_fill(x > 1, torch.nan)
    holes[1] = torch.nan
    with pretended_gpu():
        there = [f(x.to("cuda"), 1).cpu() for f in (median, lambda x, dim: kth_smallest(x, 7, dim))]
        seen = nanmedian(holes.to("cuda"), 1).cpu()
    assert torch.equal(there[0], x.median(1).values)
    assert torch.equal(there[1], x.kthvalue(7, 1).values)
    assert torch.equal(seen.nan_to_num(9), holes.nanmedian(1).values.nan_to_num(9))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_network_computes_in_half_precision_on_a_gpu(dtype: torch.dtype) -> None:
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = load_prior().eps(x, 300)
    with pretended_gpu() as gpu:
        prior = load_prior().cast(dtype).to("cuda")
        with torch.no_grad():
            found = prior.eps(x.to("cuda"), 300)
        assert found.device == torch.device("cuda", 0)
        assert float((found.cpu() - expected).abs().mean()) < 0.02
        assert gpu.waits.total() < 600  # the weights, one by one


def test_where_memory_runs_out_the_batch_is_halved() -> None:
    """With room for the tensors of two photos, and not for those of four."""
    photos = [photo(seed, 48, 48) for seed in range(4)]
    generators = [image_generator(0, str(b)) for b in range(4)]
    method = D2IR(FEW, stages="estimation")

    def restored(memory: int, count: int) -> Outcome:
        with pretended_gpu(memory) as gpu:
            y = torch.stack(photos).to("cuda")

            def restore(rows: Sequence[int], way: RestorationMethod) -> Restoration:
                own = [generators[b] for b in rows]
                sigma = y.new_full((len(rows),), 0.1)
                problem = Problem.of(y[list(rows)], GaussianBlur(9), own, sigma)
                return way.restore(problem, FreePrior(gpu)).cpu()

            outcome = Attempts(FreePrior(gpu))(restore, method, range(count), 48 * 48)
            peaks.append(gpu.peak)
            return outcome

    peaks: list[int] = []
    for count in (2, 4):
        assert len(restored(1 << 30, count).restored) == count
    outcome = restored((peaks[0] + peaks[1]) // 2, 4)
    assert set(outcome.restored) == {0, 1, 2, 3}
    assert all("2 at a time" in image.notes[0] for image in outcome.restored.values())
