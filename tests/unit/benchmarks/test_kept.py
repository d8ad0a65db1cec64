"""What files of each kind carry is in what `predict` and the page make of them."""

import shutil
from pathlib import Path

import pytest

from benchmarks.kept import restored

# Further kinds of files take other ways, which have tests of their own.
KINDS = ("jpg", "png", "tif", "heic", "dng")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_predict_and_the_page_keep_what_files_carry(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    pytest.importorskip("rawpy")
    results = restored(tmp_path, KINDS)
    assert [kept.written for kept in results] == [".jpg", ".png", ".tif", ".jpg", ".tif"]
    for kept in results:
        assert {"camera", "time", "place"} <= kept.before
        # The light of a raw file has no resolution in dots per inch.
        assert kept.before - kept.after <= ({"dots per inch"} if kept.suffix == "dng" else set())
        assert kept.page == kept.after
