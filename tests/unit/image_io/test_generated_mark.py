"""A restored file says that a generative model has edited it, in every format."""

import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from d2ir_pl.image_io import Format, Output, Photo, read_image, write_photo
from d2ir_pl.image_io.metadata import Metadata
from d2ir_pl.image_io.xmp import GENERATED, generated

ELEMENT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
HEAD = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
)
NAMES = (
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)
TAIL = "</r:RDF></x:xmpmeta>"
PACKETS = {
    "attribute": f'{HEAD}<r:Description r:about="" {NAMES} xmp:Rating="4" '
    f'Iptc4xmpExt:DigitalSourceType="{CAPTURE}"/>{TAIL}',
    "element": f'{HEAD}<r:Description r:about="" {NAMES} xmp:Rating="4"><Iptc4xmpExt:'
    f"DigitalSourceType>{CAPTURE}</Iptc4xmpExt:DigitalSourceType></r:Description>{TAIL}",
    "resource": f'{HEAD}<r:Description r:about="" {NAMES} xmp:Rating="4"><Iptc4xmpExt:'
    f'DigitalSourceType r:resource="{CAPTURE}"/></r:Description>{TAIL}',
}


def sources(packet: bytes) -> list[str | None]:
    """What a packet says of the photo's source, in the order in which it says so."""
    return [found.text for found in ElementTree.fromstring(packet).iter(ELEMENT)]


def photo(metadata: Metadata = Metadata()) -> Photo:
    return Photo(torch.zeros(3, 8, 12), metadata=metadata)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("strip", [False, True])
def test_a_file_tells_once_and_stays_so_when_it_is_restored_again(
    tmp_path: Path, form: Format, strip: bool
) -> None:
    for number in range(2):
        output = Output(form, strip_metadata=strip)
        path = tmp_path / f"{number}{output.suffix(photo())}"
        before = photo() if number == 0 else read_image(tmp_path / f"0{path.suffix}")
        write_photo(path, before, output)
        packet = read_image(path).metadata.xmp
        assert packet is not None
        assert sources(packet) == [GENERATED]
    write_photo(path, photo(), Output(form, mark_generated=False))
    assert read_image(path).metadata.xmp is None


@pytest.mark.parametrize("form", PACKETS)
def test_what_a_photo_said_of_its_source_is_replaced_and_all_else_kept(form: str) -> None:
    packet = generated(PACKETS[form].encode())
    assert sources(packet) == [GENERATED]
    assert b"digitalCapture" not in packet
    assert b'xmp:Rating="4"' in packet


def test_damaged_packets_are_no_error() -> None:
    whole = PACKETS["element"].encode()
    for end in range(0, len(whole), 7):
        found = generated(whole[:end])
        if end:
            assert found.startswith(whole[: min(end, len(HEAD))])


def test_another_reader_finds_it(tmp_path: Path) -> None:
    try:
        subprocess.run(["exiftool", "-ver"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("exiftool is not installed")
    told = photo(replace(Metadata(), xmp=PACKETS["attribute"].encode()))
    for form in ("png", "jpeg", "webp", "tiff"):
        path = tmp_path / f"a.{form}"
        write_photo(path, told, Output(form))
        asked = [
            "exiftool",
            "-s3",
            "-n",
            "-XMP-iptcExt:DigitalSourceType",
            "-XMP:Rating",
            str(path),
        ]
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        assert found == [GENERATED, "4"]
        Image.open(path).load()
