"""What the line of a photo says of a second opinion is short, and true of what it chose."""

from d2ir_pl.prediction.callbacks.progress import _short


def test_a_second_opinion_is_told_in_a_few_words() -> None:
    note = "second opinion: the first result was set aside, because {}; {}"
    kept = note.format("it rings", "the photo is left as it is")
    gentler = note.format("it rings", "a blur of 0.7 of that size was undone instead")
    assert _short(kept) == "left as it is"
    assert _short(gentler) == "restored gently: more would have harmed it"
    assert _short("animated: the first of 2 frames is used").startswith("animated")
