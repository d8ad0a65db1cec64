import torch

from d2ir_pl.degradations import Compose, Downsampling, Frame, GaussianBlur


def test_an_image_without_a_margin_is_its_own_x() -> None:
    x = torch.rand(1, 3, 5, 7)
    assert torch.equal(Frame().embed(x), x)
    assert torch.equal(Frame().crop(x), x)
    assert Frame().image_size((5, 7)) == Frame().output_size((5, 7)) == (5, 7)


def test_a_clean_image_is_cut_to_what_a_whole_photo_can_show() -> None:
    x = torch.rand(1, 3, 14, 12)
    assert torch.equal(Frame(4).fit(x), x[..., :12, :])


def test_a_photo_that_was_shrunk_twice_gives_the_whole_image_back() -> None:
    both = Compose([Downsampling(2), Downsampling(2, "gaussian", border="reflect")])
    clean = torch.rand(1, 3, 16, 24)
    assert both.frame.output_size((4, 6)) == (16, 24)
    assert torch.equal(both.frame.crop(both.frame.embed(clean)), clean)


def test_a_chain_has_the_margins_of_its_parts() -> None:
    blur, down = GaussianBlur(5), Downsampling(3)
    both = Compose([blur, down])
    clean = torch.rand(1, 3, 12, 9)
    x = both.frame.embed(clean)
    assert torch.equal(x, blur.frame.embed(down.frame.embed(clean)))
    assert torch.equal(both.frame.crop(x), clean)
    shrunk = down.frame.image_size((4, 3))
    assert both.frame.image_size((4, 3)) == blur.frame.image_size(shrunk) == x.shape[-2:]
