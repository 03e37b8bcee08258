"""What is written on a piece of paper: which is the ink, and where it stands."""

from __future__ import annotations

import numpy as np
import pytest

from minireptile import InputError
from minireptile.tasks.paper import frame, ink_of


def test_paper_is_what_most_of_the_edge_is() -> None:
    """Ink is 1 and paper 0; light on dark where the edge is darker than the middle."""
    grey = np.full((6, 6), 200.0) / 255
    grey[5] = 0  # all along the bottom, and the column beside the left edge
    grey[1:, 1] = 0
    ink, inverted = ink_of(grey, "a picture")
    assert not inverted
    np.testing.assert_array_equal(ink, grey == 0)
    turned, inverted = ink_of(200 / 255 - grey, "a picture")
    assert inverted
    np.testing.assert_array_equal(turned, grey == 0)
    grey[0, 0] = 100 / 255  # half as dark
    assert ink_of(grey, "a picture")[0][0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(("contrast", "blank"), [(25, True), (26, False)])
def test_less_than_a_tenth_of_contrast_is_nothing(contrast: int, blank: bool) -> None:
    grey = np.full((4, 4), 80.0) / 255
    grey[1, 1] += contrast / 255
    if blank:
        with pytest.raises(InputError, match=r"q0\.png is blank: remove it$"):
            ink_of(grey, "q0.png")
    else:
        assert ink_of(grey, "q0.png")[1]


@pytest.mark.parametrize("turned", [False, True])
def test_a_frame_is_half_as_large_again_as_the_ink(turned: bool) -> None:
    ink = np.full((20, 30), 127.0) / 255  # as good as paper
    ink[3:7, 10:18] = 128 / 255
    left, top, right, bottom = frame(ink.T if turned else ink)
    wanted = (8, -1, 20, 11)  # 12 by 12 around 8 by 4, beyond the picture's edge
    assert (left, top, right, bottom) == (wanted if not turned else (-1, 8, 11, 20))
