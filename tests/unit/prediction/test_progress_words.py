"""What a second opinion does to what is said on the way: it is short, true, and not undone."""

import io
from unittest.mock import Mock

import pytest
from rich.console import Console

from d2ir_pl.prediction import RestorationModule
from d2ir_pl.prediction.callbacks import RestorationProgress
from d2ir_pl.results.warnings import in_short


def test_a_second_opinion_is_told_in_a_few_words() -> None:
    note = "second opinion: the first result was set aside, because {}; {}"
    kept = note.format("it rings", "the photo is left as it is")
    gentler = note.format("it rings", "a blur of 0.7 of that size was undone instead")
    assert in_short(kept) == "left as it is"
    assert in_short(gentler) == "restored gently: more would have harmed it"
    assert in_short("animated: the first of 2 frames is used").startswith("animated")


def test_what_is_done_does_not_shrink_where_a_photo_is_restored_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.callbacks.progress.EVERY", 0.0)
    said = io.StringIO()
    progress = RestorationProgress(2, Console(file=said, width=100), {"a": 3.0, "b": 1.0})
    progress.on_predict_start(Mock(global_rank=0, world_size=1), RestorationModule())
    item = Mock()
    item.name = "a"
    progress.items = [item]
    progress.begin()
    for index in (3, 7, 0, 5):
        step = Mock(stage="estimation", sample=0, index=index, total=8, num_samples=1)
        progress.observe(step)
    shares = [line.partition("%")[0] for line in said.getvalue().splitlines()]
    assert shares == ["34", "68", "68", "68"]
