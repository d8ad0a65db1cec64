"""What papers report of the field's protocols: numbers of others, none of which was run here."""

from __future__ import annotations

from dataclasses import dataclass, replace

FFHQ, IMAGENET = "FFHQ 256", "ImageNet 256"


@dataclass(frozen=True)
class Reported:
    """One line of a table of a paper.

    Attributes:
        method: the method, as this project calls it where it has it.
        source: the paper and its table.
        prior: the data of the prior, which are those of the photographs.
        psnr: mean PSNR in dB.
        ssim: mean structural similarity.
        lpips: mean perceptual distance; papers differ in the network that it is taken with.
        fid: Frechet distance to the photographs.
        mnc: maximum of normalised convolution of the kernels.
        kernel_rmse: root of the mean squared error of the kernels.
        remark: what differs from the protocol, as the paper says.
    """

    method: str
    source: str
    prior: str
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    fid: float | None = None
    mnc: float | None = None
    kernel_rmse: float | None = None
    remark: str = ""


def _line(prior: str, method: str, psnr: float, ssim: float, lpips: float, fid: float) -> Reported:
    """A line of two tables of DPS, both of 1000 images."""
    tables = "1 and 6" if prior == FFHQ else "2 and 7"
    source = f"Chung et al. 2023 (DPS), tables {tables}"
    return Reported(method, source, prior, psnr, ssim, lpips, fid)


def _rerun(method: str, psnr: float, lpips: float) -> Reported:
    source = "Peng et al. 2025 (NCVSD), table 2"
    remark = "best of four samples, 100 images"
    return Reported(method, source, FFHQ, psnr=psnr, lpips=lpips, remark=remark)


def _em(method: str, psnr: float, ssim: float, lpips: float, mse: float | None) -> Reported:
    rmse = None if mse is None else mse**0.5
    source = "Laroche et al. 2024 (Fast Diffusion EM), table 1"
    line = Reported(method, source, FFHQ, psnr, ssim, lpips, kernel_rmse=rmse)
    return replace(line, remark="motion of Gavant et al. 2011; noise of 5, 10 or 20 of 255 levels")


def _hdr(prior: str, method: str, psnr: float, ssim: float, lpips: float) -> Reported:
    source = f"Xia et al. 2026 (NA-NHMC), table {1 if prior == FFHQ else 2}"
    return Reported(method, source, prior, psnr, ssim, lpips, remark="100 images")


REPORTED: dict[str, tuple[Reported, ...]] = {
    "motion": (
        _line(FFHQ, "DPS", 24.92, 0.859, 0.242, 39.92),
        _line(IMAGENET, "DPS", 20.55, 0.634, 0.389, 56.08),
        _rerun("DPS", 23.14, 0.270),
        _rerun("DiffPIR", 26.57, 0.255),
        _rerun("PiGDM", 26.29, 0.240),
        _rerun("DAPS", 29.66, 0.157),
        _em("DPS, kernel known", 25.81, 0.76, 0.34, None),
        _em("PiGDM, kernel known", 27.65, 0.81, 0.34, None),
        _em("BlindDPS", 24.05, 0.73, 0.34, 3.9e-5),
        _em("Fast Diffusion EM (PiGDM, one sample)", 25.66, 0.79, 0.34, 1.1e-5),
        _em("Fast Diffusion EM (DPS, one sample)", 24.68, 0.75, 0.34, 9e-6),
    ),
    "motion_blind": (
        Reported(
            "BlindDPS",
            "Chung et al. 2023 (BlindDPS), tables 1 and 2",
            FFHQ,
            psnr=22.24,
            fid=29.49,
            mnc=0.955,
            remark="its kernels are of 64x64 entries",
        ),
    ),
    "gaussian": (
        _line(FFHQ, "DPS", 24.25, 0.811, 0.257, 44.05),
        _line(FFHQ, "DDRM", 23.36, 0.767, 0.332, 74.92),
        _line(IMAGENET, "DPS", 21.97, 0.706, 0.444, 62.72),
        _line(IMAGENET, "DDRM", 22.73, 0.705, 0.427, 63.02),
        _rerun("DDRM", 23.36, 0.236),
        _rerun("DPS", 25.52, 0.211),
        _rerun("DiffPIR", 27.36, 0.236),
        _rerun("PiGDM", 25.72, 0.245),
        _rerun("DAPS", 29.19, 0.165),
    ),
    "sr4": (
        _line(FFHQ, "DPS", 25.67, 0.852, 0.214, 39.35),
        _line(FFHQ, "DDRM", 25.36, 0.835, 0.294, 62.15),
        _line(IMAGENET, "DPS", 23.87, 0.781, 0.337, 50.66),
        _line(IMAGENET, "DDRM", 24.96, 0.790, 0.339, 59.57),
        _rerun("DDRM", 27.65, 0.210),
        _rerun("DPS", 24.38, 0.260),
        _rerun("DiffPIR", 26.64, 0.260),
        _rerun("PiGDM", 25.69, 0.245),
        _rerun("DAPS", 29.07, 0.177),
    ),
    "box": (
        _line(FFHQ, "DPS", 22.47, 0.873, 0.168, 33.12),
        _line(FFHQ, "DDRM", 22.24, 0.869, 0.204, 42.93),
        _line(IMAGENET, "DPS", 18.90, 0.794, 0.262, 38.82),
        _line(IMAGENET, "DDRM", 18.66, 0.814, 0.245, 45.95),
        _rerun("DDRM", 22.37, 0.159),
        _rerun("DPS", 23.32, 0.198),
        _rerun("DiffPIR", 25.02, 0.186),
        _rerun("PiGDM", 21.76, 0.284),
        _rerun("DAPS", 24.07, 0.133),
    ),
    "random92": (
        _line(FFHQ, "DPS", 25.23, 0.851, 0.212, 21.19),
        _line(FFHQ, "DDRM", 9.19, 0.319, 0.587, 69.71),
        _line(IMAGENET, "DPS", 22.20, 0.739, 0.303, 35.87),
        _line(IMAGENET, "DDRM", 14.29, 0.403, 0.665, 114.9),
    ),
    "hdr": (
        _hdr(FFHQ, "DiffPIR", 25.20, 0.814, 0.223),
        _hdr(FFHQ, "RED-diff", 21.44, 0.525, 0.458),
        _hdr(FFHQ, "DPS", 27.46, 0.849, 0.168),
        _hdr(FFHQ, "DAPS", 26.03, 0.758, 0.259),
        _hdr(IMAGENET, "DiffPIR", 23.29, 0.730, 0.273),
        _hdr(IMAGENET, "RED-diff", 20.98, 0.524, 0.415),
        _hdr(IMAGENET, "DPS", 25.31, 0.763, 0.248),
        _hdr(IMAGENET, "DAPS", 23.57, 0.709, 0.283),
    ),
}
"""The lines by the name of the protocol that they come closest to."""
