"""The drawn characters: reproducible, extensible, legible, and told apart by their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.errors import InputError
from minireptile.tasks.glyphs import glyph_splits, glyphs
from minireptile.tasks.images import ImageClasses
from minireptile.tasks.pen import ink


@pytest.fixture(scope="module")
def data() -> ImageClasses:
    return glyphs(120, 8, seed=3)


def by_class(data: ImageClasses) -> NDArray[np.uint8]:
    return data.images.reshape(len(data), -1, 28, 28)


def nearest_neighbour_accuracy(images: NDArray[np.uint8]) -> float:
    """5-way 1-shot: the class of the nearest support image, blurred over 3 x 3 pixels."""
    ink = np.pad(1.0 - images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    blurred = np.zeros(images.shape)
    for row in range(3):
        for column in range(3):
            blurred += ink[:, :, row : row + 28, column : column + 28]
    rng, right = np.random.default_rng(0), []
    for _ in range(400):
        classes = rng.choice(len(images), 5, replace=False)
        drawers = rng.permuted(np.tile(np.arange(images.shape[1]), (5, 1)), axis=1)
        support, query = blurred[classes, drawers[:, 0]], blurred[classes, drawers[:, 1]]
        distance = ((query[:, None] - support[None]) ** 2).sum((2, 3))
        right.append((distance.argmin(1) == np.arange(5)).mean())
    return float(np.mean(right))


def test_format(data: ImageClasses) -> None:
    assert data.images.shape == (960, 28, 28, 1)
    assert data.images.dtype == np.uint8
    assert set(np.unique(data.images)) == {0, 1}
    assert data.scale == 1.0
    assert data.names[0] == "glyph00000"
    assert len(set(data.names)) == 120
    assert (data.counts == 8).all()


def test_same_seed_same_images_other_seed_others(data: ImageClasses) -> None:
    np.testing.assert_array_equal(glyphs(5, 8, seed=3).images, data.images[:40])
    assert (glyphs(5, 8, seed=4).images != data.images[:40]).any(axis=(1, 2, 3)).all()


def test_more_classes_and_drawers_keep_the_earlier_ones(data: ImageClasses) -> None:
    np.testing.assert_array_equal(by_class(glyphs(7, 3, seed=3)), by_class(data)[:7, :3])


def test_first_skips_classes(data: ImageClasses) -> None:
    later = glyphs(4, 8, seed=3, first=11)
    np.testing.assert_array_equal(by_class(later), by_class(data)[11:15])
    assert later.names == data.names[11:15]


def test_no_image_is_blank_or_full(data: ImageClasses) -> None:
    ink = 1 - data.images.mean(axis=(1, 2, 3))
    assert np.min(ink) > 0
    assert np.max(ink) < 0.4


def test_drawers_of_a_class_and_classes_differ(data: ImageClasses) -> None:
    flat = data.images.reshape(len(data.images), -1)
    assert len(np.unique(flat, axis=0)) > 0.99 * len(flat)
    firsts = flat[data.starts[:-1]]
    assert len(np.unique(firsts, axis=0)) == len(data)


def test_classes_are_told_apart_well_above_chance(data: ImageClasses) -> None:
    assert 0.5 < nearest_neighbour_accuracy(by_class(data)) < 0.9


@pytest.mark.parametrize(("x", "y"), [(52.0, 52.0), (50.3, 49.9), (3.0, 101.0), (34.5, 70.2)])
def test_ink_is_what_nearest_neighbour_resizing_keeps_of_the_pen(x: float, y: float) -> None:
    """The pen, 5 x 5 without corners, drawn on the whole page and resized by Pillow."""
    resize = pytest.importorskip("PIL.Image")
    page = np.ones((105, 105), np.uint8)
    column, row = int(x), int(y)
    page[row - 2 : row + 3, column - 1 : column + 2] = 0
    page[row - 1 : row + 2, column - 2 : column + 3] = 0
    wanted = np.asarray(resize.fromarray(page).resize((28, 28), resize.Resampling.NEAREST))
    np.testing.assert_array_equal(ink(np.array([[[x, y]]]))[0], wanted)


def test_splits_share_no_class_and_rotate_the_training_ones() -> None:
    splits = glyph_splits(6, 5, drawers=3, seed=1)
    plain = glyphs(11, 3, seed=1)
    assert len(splits.train) == 24
    assert len(splits.test) == 5
    np.testing.assert_array_equal(splits.test.images, plain.images[18:])
    for turns in range(4):
        turned = np.rot90(plain.images[:18], turns, axes=(1, 2))
        np.testing.assert_array_equal(splits.train.images[18 * turns : 18 * turns + 18], turned)
    train_names = {name.partition("/")[0] for name in splits.train.names}
    assert train_names.isdisjoint(splits.test.names)
    assert len(glyph_splits(6, 5, drawers=3, seed=1, rotations=False).train) == 6


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"classes": 0}, "classes"),
        ({"drawers": 0}, "drawers"),
        ({"first": -1}, "first"),
        ({"seed": -1}, "seed"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, int], word: str) -> None:
    with pytest.raises(InputError, match=word):
        glyphs(**{"classes": 1, "drawers": 1, **arguments})


def test_splits_need_classes_on_both_sides() -> None:
    with pytest.raises(InputError, match="train_classes"):
        glyph_splits(0, 5, 2)
    with pytest.raises(InputError, match="test_classes"):
        glyph_splits(5, 0, 2)


def test_likeness_to_omniglot(shared_data: Path) -> None:
    """Ink, the spread of ink over classes, and how hard the tasks are for raw pixels."""
    path = shared_data / "omniglot" / "images_background.npz"
    if not path.is_file():
        pytest.skip(f"no Omniglot: {path} is not there")
    kept = ((np.arange(28) + 0.5) * 105 / 28).astype(int)
    with np.load(path, allow_pickle=False) as arrays:
        pages = arrays["images"][::8, :8]
    real, drawn = pages[..., kept, :][..., kept].astype(np.uint8), by_class(glyphs(120, 8))
    ink, real_ink = (1 - a.mean(axis=(1, 2, 3)) for a in (drawn, real))
    assert ink.mean() == pytest.approx(real_ink.mean(), rel=0.25)
    assert ink.std() == pytest.approx(real_ink.std(), rel=0.5)
    difference = nearest_neighbour_accuracy(drawn) - nearest_neighbour_accuracy(real)
    assert abs(difference) < 0.15
