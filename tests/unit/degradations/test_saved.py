"""phi as a file holds it: the same to the last bit, for every family, and kernels among them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from degradation_examples import every_degradation, scene

from d2ir_pl.degradations import (
    Blur,
    Compose,
    DefocusBlur,
    Degradation,
    Downsampling,
    GaussianBlur,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
    Phi,
)
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.kernel_shapes import trimmed
from d2ir_pl.operators.kernels import padded
from d2ir_pl.operators.numbers import compacted, packed, unpacked


def record_of(path: Path, degradation: Degradation, phi: Phi) -> Path:
    """What `predict` writes about a photo, as far as its degradation is concerned."""
    record = {
        "name": path.stem,
        "status": "restored",
        "phi": compacted(degradation.describe(phi)[0]),
        "degradation": SavedPhi.of(degradation, phi).as_json(),
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


@every_degradation
def test_phi_comes_back_to_the_last_bit(tmp_path: Path, degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation, 1, torch.float32)
    saved = SavedPhi.read(record_of(tmp_path / "a.json", degradation, phi))
    assert saved.phi.keys() == phi.keys()
    for name, value in phi.items():
        assert saved.phi[name].dtype == value.dtype
        assert torch.equal(saved.phi[name], value)
    told = saved.told(degradation)
    assert not told.estimated
    assert torch.equal(told(x, told.init(y, torch.ones(1))), y)
    assert saved.digest == SavedPhi.of(degradation, phi).digest


@pytest.mark.parametrize(
    "blur",
    [
        Blur(9),
        Blur(41),
        GaussianBlur(9),
        GaussianBlur(9, isotropic=False),
        MotionBlur(9),
        DefocusBlur(35),
        Compose([MotionBlur(9), Jpeg(50)]),
        Compose([Light(), GaussianBlur(9), Downsampling(2, "gaussian")]),
    ],
    ids=lambda blur: type(blur).__name__,
)
def test_the_record_of_a_blur_is_a_kernel_file(tmp_path: Path, blur: Degradation) -> None:
    phi = blur.draw([image_generator(0, "a")], torch.zeros(1, 3, 16, 16))
    path = record_of(tmp_path / "a.json", blur, phi)
    known = Blur(kernel=str(path), border="reflect")
    truth = _kernel(blur, phi)
    found = known.kernel(known.init(torch.zeros(1, 3, 16, 16), torch.ones(1)))[0]
    # A free kernel is stored without its empty margin.
    held = trimmed(truth.double()) if isinstance(blur, Blur) else truth.double()
    assert torch.allclose(found.double(), held, rtol=2e-5, atol=1e-9)
    assert torch.allclose(padded(held, truth.shape[-1]), truth.double(), rtol=1e-4, atol=1e-6)
    # The logarithm of a kernel is what rounds: the file itself is exact.
    stored = json.loads(path.read_text())["phi"]
    stored = next(p for p in stored.get("parts", [stored]) if "Blur" in p["kind"])["kernel"]
    assert np.array_equal(unpacked(stored), held.float().numpy())


def _kernel(blur: Degradation, phi: Phi) -> torch.Tensor:
    if isinstance(blur, ConvolutionalBlur):
        return blur.kernel(phi)[0]
    assert isinstance(blur, Compose)
    i = next(i for i, part in enumerate(blur.parts) if isinstance(part, ConvolutionalBlur))
    own = {k.removeprefix(f"{i}."): v for k, v in phi.items() if k.startswith(f"{i}.")}
    return _kernel(blur.parts[i], Phi(own))


def test_a_large_kernel_takes_few_bytes_a_number(tmp_path: Path) -> None:
    blur = Blur(101)
    phi = blur.draw([image_generator(0, "a")], torch.zeros(1))
    assert record_of(tmp_path / "a.json", blur, phi).stat().st_size < 2 * 6 * 101**2


@pytest.mark.parametrize(
    "record",
    [
        {"status": "restored", "phi": {"kind": "Blur", "kernel": [[0.25, 0.5, 0.25]]}},
        {"kind": "Blur", "kernel": [[1, 2, 1]]},
    ],
    ids=["earlier version", "parameters alone"],
)
def test_a_kernel_may_stand_in_an_older_record_or_alone(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    blur = Blur(kernel=str(tmp_path / "a.json"))
    row = blur.kernel(blur.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))[0, 1]
    assert row.tolist() == pytest.approx([0.25, 0.5, 0.25])


BLUR = {"kind": "Blur", "kernel": [[0.5, 0.5]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[[1, 2]]", "holds no record of a restored photo: give the .json"),
        ('{"kernel": [[1, 2]]}', "holds no record of a restored photo"),
        (json.dumps({"phi": {"kind": "Light", "gain": [0.2]}}), "it tells of Light, not of a blur"),
        (
            json.dumps({"phi": {"kind": "Downsampling", "kernel": "bicubic"}}),
            "it tells of Downsampling",
        ),
        (
            json.dumps({"phi": {"kind": "Compose", "parts": [BLUR, BLUR]}}),
            "has 2 kernels, of Blur and Blur: give one",
        ),
        (json.dumps({"status": "failed", "reason": "too small"}), r"that photo failed \(too small"),
        (json.dumps({"phi": {**BLUR, "kernel": [[1], [2, 3]]}}), "missing or damaged"),
        (json.dumps({"phi": {**BLUR, "kernel": [[0.1, float("nan")]]}}), "not finite"),
        (json.dumps({"phi": {**BLUR, "kernel": [[-1.0, 2.0]]}}), "at least 0"),
        (json.dumps({"phi": {**BLUR, "kernel": [1.0, 2.0]}}), "2-D"),
        ('{"phi": {"kind": "Blur", "kernel": ' + 9999 * "[" + 9999 * "]" + "}}", "is not JSON"),
    ],
)
def test_a_record_without_one_kernel_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Blur(kernel=str(tmp_path / "a.json"))
    assert str(error.value).startswith(f"kernel file {tmp_path / 'a.json'} ")


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        (GaussianBlur(9), MotionBlur(9), "tells of GaussianBlur, not of MotionBlur: choose"),
        (GaussianBlur(9), GaussianBlur(9, isotropic=False), "with isotropic true, not false"),
        (GaussianBlur(9), GaussianBlur(11), "with kernel_size 9, not 11: set the same"),
        (Downsampling(2), Downsampling(4), "with factor 2, not 4"),
        (Light(map_size=4), Light(), "with map_size 4, not 8"),
        (
            Compose([GaussianBlur(9), Jpeg()]),
            Compose([Blur(9), Jpeg()]),
            r"tells of GaussianBlur \+ Jpeg, not of Blur \+ Jpeg",
        ),
        (
            Compose([GaussianBlur(9), Downsampling(2)]),
            Compose([GaussianBlur(9), Downsampling(4)]),
            "Downsampling with factor 2, not 4",
        ),
    ],
)
def test_phi_of_another_family_is_refused(
    then: Degradation, now: Degradation, message: str
) -> None:
    _, _, phi, _ = scene(then, 1, torch.float32)
    with pytest.raises(ValueError, match=message):
        SavedPhi.of(then, phi).told(now)


def test_what_phi_does_not_depend_on_may_differ() -> None:
    then, now = GaussianBlur(9), GaussianBlur(9, border="reflect", draw_width=(0.3, 0.4))
    told = SavedPhi.of(then, Phi(log_width=torch.tensor([[0.5]]))).told(now)
    assert told.init(torch.zeros(2, 3, 8, 8), torch.ones(2))["log_width"].tolist() == [[0.5]] * 2
    assert told.frame == now.frame


SAVED = SavedPhi.of(GaussianBlur(9), Phi(log_width=torch.tensor([[0.5]]))).as_json()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tool": "another"}, "holds no record of a restored photo"),
        ({"status": "failed", "reason": "no light"}, r"has no estimate: .* \(no light\)"),
        ({"status": "restored", "phi": {"kind": "Blur"}}, "an earlier version, which rounded"),
        ({"status": "restored", "degradation": {**SAVED, "phi": {"a": "b"}}}, "missing or damaged"),
        ({"status": "restored", "degradation": {**SAVED, "init_args": 3}}, "damaged description"),
        (
            {"status": "restored", "degradation": {**SAVED, "phi": {"a": [float("inf")]}}},
            "not finite",
        ),
    ],
)
def test_a_record_without_phi_is_refused(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message) as error:
        SavedPhi.read(tmp_path / "a.json")
    assert str(error.value).startswith(f"{tmp_path / 'a.json'} ")


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (40, 41), (1, 2000)])
@pytest.mark.parametrize("kind", ["float32", "int64", "bits"])
def test_arrays_come_back_as_they_were(shape: tuple[int, ...], kind: str) -> None:
    array: np.ndarray = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if kind == "int64":
        array = (1000 * array).astype(np.int64)
    if kind == "bits":
        array = (array > 0).astype(np.float32)
    back = unpacked(json.loads(json.dumps(packed(array))))
    assert back.shape == array.shape
    assert back.dtype == array.dtype or array.size == 0
    assert np.array_equal(back, array)


def test_a_packed_array_of_a_wrong_length_is_refused() -> None:
    data = packed(np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32))
    for change in ({"shape": [40, 41]}, {"shape": [39, 40]}, {"shape": [-1, 2]}, {"zlib": "?"}):
        with pytest.raises(ValueError, match="missing or damaged"):
            unpacked({**data, **change})


def test_a_mask_takes_a_bit_a_pixel() -> None:
    mask = Mask(missing=0.5).draw([image_generator(0, "a")], torch.zeros(1, 3, 200, 300))
    text = json.dumps(SavedPhi.of(Mask(), mask).as_json())
    assert len(text) < 1.5 * 200 * 300 / 8
