"""Checkpoints that others have published, with the flags they were trained with."""

from __future__ import annotations

from dataclasses import dataclass

from d2ir_pl.priors.download import RemoteFile
from d2ir_pl.priors.flags import UNetFlags


@dataclass(frozen=True)
class PublishedPrior:
    """A checkpoint on the web.

    Attributes:
        file: name of the file.
        flags: flags that the model was trained with.
        parameters: number of parameters, each in float32.
        about: description of the training data.
        page: address of the project.
        remote: address of the file; None if only a browser can download it.
    """

    file: str
    flags: UNetFlags
    parameters: int
    about: str
    page: str
    remote: RemoteFile | None = None

    @property
    def gigabytes(self) -> float:
        """Size of the file in GB."""
        return 4 * self.parameters / 1e9


def _openai(
    file: str,
    flags: UNetFlags,
    parameters: int,
    about: str,
    size: int | None = None,
    sha256: str | None = None,
) -> PublishedPrior:
    """One of the models of Dhariwal and Nichol, Diffusion Models Beat GANs, 2021."""
    folder = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
    page = "https://github.com/openai/guided-diffusion"
    return PublishedPrior(
        file, flags, parameters, about, page, RemoteFile(folder + file, size, sha256)
    )


_LSUN = UNetFlags(dropout=0.1)
_LSUN_PARAMETERS = 552_814_086

# The projects publish no hashes. The sizes and hashes below are those that users of the files
# report; each size fits the number of parameters.
PUBLISHED = {
    "imagenet-64": _openai(
        "64x64_diffusion.pt",
        UNetFlags(
            image_size=64,
            class_cond=True,
            num_channels=192,
            num_res_blocks=3,
            dropout=0.1,
            use_new_attention_order=True,
            noise_schedule="cosine",
        ),
        295_904_454,
        "ImageNet 64x64, needs a label",
        1_183_736_577,
        "a18558f9a2499615a3ff9759ad12299690ad36ee3378c395adbb94855e2b634f",
    ),
    "imagenet-128": _openai(
        "128x128_diffusion.pt",
        UNetFlags(image_size=128, class_cond=True, num_head_channels=-1),
        421_529_606,
        "ImageNet 128x128, needs a label",
    ),
    "imagenet-256": _openai(
        "256x256_diffusion_uncond.pt",
        UNetFlags(),
        552_814_086,
        "ImageNet 256x256",
        2_211_383_297,
        "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
    ),
    "imagenet-256-cond": _openai(
        "256x256_diffusion.pt",
        UNetFlags(class_cond=True),
        553_838_086,
        "ImageNet 256x256, needs a label",
        2_215_479_544,
    ),
    "imagenet-512": _openai(
        "512x512_diffusion.pt",
        UNetFlags(image_size=512, class_cond=True),
        558_997_638,
        "ImageNet 512x512, needs a label",
    ),
    "lsun-bedroom": _openai("lsun_bedroom.pt", _LSUN, _LSUN_PARAMETERS, "LSUN bedrooms 256x256"),
    "lsun-cat": _openai("lsun_cat.pt", _LSUN, _LSUN_PARAMETERS, "LSUN cats 256x256"),
    "lsun-horse": _openai("lsun_horse.pt", _LSUN, _LSUN_PARAMETERS, "LSUN horses 256x256"),
    "lsun-horse-nodropout": _openai(
        "lsun_horse_nodropout.pt",
        UNetFlags(),
        _LSUN_PARAMETERS,
        "LSUN horses 256x256, trained without dropout",
    ),
    "ffhq-256": PublishedPrior(
        "ffhq_10m.pt",
        UNetFlags(num_channels=128, num_res_blocks=1, attention_resolutions="16"),
        93_563_910,
        "faces of FFHQ 256x256",
        "https://github.com/DPS2022/diffusion-posterior-sampling",
        # The project has it in a folder for browsers. This is the copy of the deepinv library, at
        # the commit that added it, whose size and hash are those that the hub records there.
        RemoteFile(
            "https://huggingface.co/deepinv/diffunet/resolve/"
            "57178e9f4ddfa931018774cccb7ccffe4ac969b5/diffusion_ffhq_10m.pt",
            374_417_833,
            "81d535743156ec6be34d8668e6920da94f0614074d7793a16c8fa9e306237faa",
        ),
    ),
}
