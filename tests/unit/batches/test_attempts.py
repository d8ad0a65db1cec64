"""What is done where memory runs out, or an image diverges or is refused."""

from collections.abc import Callable, Sequence

import pytest
import torch
from gaussian_prior import GaussianPrior

from d2ir_pl.batches.attempts import Attempts, out_of_memory
from d2ir_pl.degradations import Phi
from d2ir_pl.errors import DeviceError, OutputError
from d2ir_pl.priors import NetworkPrior, load_prior
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization, Restoration
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines import (
    BIRD,
    DAPS,
    DDNM,
    DDRM,
    DPS,
    GDP,
    FastDiffusionEM,
    GibbsDDRM,
    PiGDM,
    REDDiff,
)


def restored(images: Sequence[int], value: float = 0.0, residual: float = 0.1) -> Restoration:
    count = len(images)
    return Restoration(
        x0=torch.full((count, 3, 2, 2), value),
        phi=Phi(width=torch.tensor(images, dtype=torch.float32)),
        residual=torch.full((count,), residual),
        sigma_y=torch.full((count,), 0.1),
        nfe=[1] * count,
        stopped_by=["steps"] * count,
        losses={"estimation": [[1.0]] * count},
        reblurred=torch.zeros(count, 3, 2, 2),
    )


class Fails:
    """Restores at most `fits` images at once, and only on tiles of at most `tile` pixels."""

    def __init__(self, prior: NetworkPrior, fits: int, tile: int = 10**6) -> None:
        self.prior, self.fits, self.tile = prior, fits, tile
        self.calls: list[list[int]] = []

    def __call__(self, images: Sequence[int], method: RestorationMethod) -> Restoration:
        self.calls.append(list(images))
        if len(images) > self.fits or self.prior.tile > self.tile:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return restored(images)


@pytest.fixture
def prior() -> NetworkPrior:
    return load_prior(tile=128)


def test_a_batch_is_halved_until_it_fits_and_the_next_one_is_split_at_once(
    prior: NetworkPrior,
) -> None:
    attempts, restore = Attempts(prior), Fails(prior, fits=2)
    outcome = attempts(restore, D2IR(), range(5), 100)
    assert restore.calls == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4]]
    assert [float(outcome.restored[b].restoration.phi["width"]) for b in range(5)] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert prior.tile == 128
    restore.calls.clear()
    attempts(restore, D2IR(), range(4), 100)
    assert restore.calls == [[0, 1], [2, 3]]
    restore.calls.clear()
    attempts(restore, D2IR(), range(2), 50)  # smaller images: as many pixels fit as before
    assert restore.calls == [[0, 1]]


def test_a_gpu_that_has_failed_ends_the_run_and_blames_no_photo(prior: NetworkPrior) -> None:
    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel ...")

    with pytest.raises(DeviceError, match=r"the GPU has failed \(CUDA error: an illegal memory"):
        Attempts(prior)(restore, D2IR(), range(3), 100)


@pytest.mark.parametrize(
    "message",
    ["CUDA error: out of memory", "FIND was unable to find an engine to execute this computation"],
)
def test_what_libraries_say_of_memory_is_known(message: str) -> None:
    assert out_of_memory(RuntimeError(message))


@pytest.mark.slow
def test_a_single_image_is_tiled_until_that_is_impossible(prior: NetworkPrior) -> None:
    outcome = Attempts(prior)(Fails(prior, fits=1, tile=64), D2IR(), range(1), 100)
    assert outcome.restored[0].notes == [
        "memory ran out: restored 1 at a time, on tiles of 64 pixels"
    ]
    assert outcome.restored[0].tile == 64
    outcome = Attempts(prior)(Fails(prior, fits=0), D2IR(), range(2), 100)
    assert not outcome.restored
    assert set(outcome.failed) == {0, 1}
    assert "memory ran out, on tiles of 32 pixels as well" in outcome.failed[0]


def test_the_tiles_of_an_image_do_not_depend_on_larger_ones_before_it(prior: NetworkPrior) -> None:
    attempts, restore = Attempts(prior), Fails(prior, fits=1, tile=64)
    attempts(restore, D2IR(), range(1), 1000)
    assert prior.tile == 128
    restore.tile = 10**6
    assert attempts(restore, D2IR(), range(1), 100).restored[0].tile == 128
    assert (
        attempts(restore, D2IR(), range(1), 1000).restored[0].tile == 64
    )  # at once, without another failure
    assert prior.tile == 128


def test_an_automatic_tile_that_was_halved_stays_so() -> None:
    prior = load_prior()
    prior.prepare(gradient=False)
    assert prior.tile == 320
    prior.halve_tile()
    prior.prepare(gradient=False)
    assert prior.tile == 160


@pytest.mark.parametrize(
    ("bad", "sound"), [({"value": torch.nan}, {}), ({"residual": 2e3}, {"value": 0.5})]
)
def test_what_diverges_is_restored_again_alone_gently_and_in_float32(
    prior: NetworkPrior, bad: dict[str, float], sound: dict[str, float]
) -> None:
    prior.cast(torch.bfloat16)
    seen: list[tuple[list[int], float, torch.dtype]] = []

    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        assert isinstance(method, D2IR)
        seen.append((list(images), method.latent.lr, prior.compute_dtype))
        if len(images) == 1:
            return restored(images, **sound)
        parts = [restored([b], **(bad if b == 1 else {})) for b in images]
        return Restoration.join(parts)

    outcome = Attempts(prior)(restore, D2IR(latent=LatentOptimization(lr=0.5)), range(3), 100)
    assert seen == [([0, 1, 2], 0.5, torch.bfloat16), ([1], 0.05, torch.float32)]
    assert prior.compute_dtype == torch.bfloat16
    assert set(outcome.restored) == {0, 1, 2}
    assert not outcome.failed
    how = "with a tenth of the step sizes and in float32"
    notes = {b: image.notes for b, image in outcome.restored.items()}
    assert notes == {0: [], 1: [f"the restoration diverged at first: restored {how}"], 2: []}
    assert [outcome.restored[b].in_float32 for b in range(3)] == [False, True, False]


def test_what_diverges_twice_fails_alone(prior: NetworkPrior) -> None:
    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        return Restoration.join([restored([b], torch.inf if b == 1 else 0.0) for b in images])

    outcome = Attempts(prior)(restore, D2IR(), range(3), 100)
    assert set(outcome.restored) == {0, 2}
    assert "try another --seed" in outcome.failed[1]


def test_a_refused_image_does_not_cost_its_neighbours(prior: NetworkPrior) -> None:
    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        if 1 in images:
            raise ValueError("nothing of it is visible")
        return restored(images)

    outcome = Attempts(prior)(restore, D2IR(), range(3), 100)
    assert set(outcome.restored) == {0, 2}
    assert outcome.failed == {1: "nothing of it is visible"}


def test_a_computation_that_fails_is_tried_once_more_and_costs_no_neighbour(
    prior: NetworkPrior,
) -> None:
    calls: list[list[int]] = []

    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        calls.append(list(images))
        if 1 in images:
            raise RuntimeError("svd did not converge")
        return restored(images)

    outcome = Attempts(prior)(restore, D2IR(), range(3), 100)
    assert calls == [[0, 1, 2], [0], [1], [2], [1]]
    assert set(outcome.restored) == {0, 2}
    assert "svd did not converge" in outcome.failed[1]


def test_a_full_disk_is_no_fault_of_an_image(prior: NetworkPrior) -> None:
    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        raise OutputError("tensorboard cannot be written")

    with pytest.raises(OutputError):
        Attempts(prior)(restore, D2IR(), range(2), 100)


def test_nothing_is_tried_again_in_the_same_way(prior: NetworkPrior) -> None:
    calls: list[list[int]] = []

    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        calls.append(list(images))
        return restored(images, torch.nan)

    outcome = Attempts(prior)(restore, DDRM(), range(1), 100)
    assert calls == [[0]]
    assert outcome.failed[0] == "the restoration diverged: try another --seed"
    prior.cast(torch.bfloat16)
    outcome = Attempts(prior)(restore, DDRM(), range(1), 100)
    assert len(calls) == 3
    assert outcome.failed[0] == "the restoration diverged, in float32 as well: try another --seed"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        (D2IR(), lambda m: m.latent.lr),
        (D2IR(), lambda m: m.estimation.phi_lr),
        (D2IR(), lambda m: m.estimation.guidance_scale),
        (GDP(), lambda m: m.scale),
        (GDP(), lambda m: m.phi_lr),
        (DPS(), lambda m: m.scale),
        (BIRD(), lambda m: m.lr),
        (BIRD(), lambda m: m.kernel_lr),
        (FastDiffusionEM(), lambda m: m.scale),
        (GibbsDDRM(), lambda m: m.step_size),
        (PiGDM(), lambda m: m.scale),
        (REDDiff(), lambda m: m.lr),
        (DAPS(), lambda m: m.step_size),
    ],
)
def test_a_gentler_method_takes_a_tenth_of_the_steps(
    method: RestorationMethod, setting: Callable[[RestorationMethod], float]
) -> None:
    before = setting(method)
    gentler = method.gentler()
    assert gentler is not None
    assert setting(gentler) == pytest.approx(before / 10)
    assert setting(method) == before


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (D2IR(), False),
        (D2IR(latent=LatentOptimization(gradient="full")), True),
        (D2IR(latent=LatentOptimization(gradient="full"), stages="estimation"), False),
        (D2IR(DegradationEstimation(consistency="guidance")), True),
        (D2IR(DegradationEstimation(consistency="guidance"), stages="latent"), False),
        (DPS(), True),
        (FastDiffusionEM(), True),
        (PiGDM(), True),
        (GibbsDDRM(), False),
        (REDDiff(), False),
        (DAPS(), False),
        (DDNM(), False),
        (GDP(), False),
        (BIRD(), False),
        (DDRM(), False),
    ],
)
def test_methods_say_whether_gradients_pass_through_the_network(
    method: RestorationMethod, expected: bool
) -> None:
    assert method.through_network == expected


def test_a_prior_that_is_no_network_is_put_on_smaller_tiles_too() -> None:
    prior = GaussianPrior()
    sizes = []

    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        sizes.append(prior.tile)
        if prior.tile > 200:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return restored(images)

    outcome = Attempts(prior)(restore, D2IR(), range(1), 100)
    assert sizes == [512, 256, 128]
    assert outcome.restored[0].tile == 128
    assert prior.tile == 512
