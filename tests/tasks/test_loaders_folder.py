"""One's own images in a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireptile.errors import InputError
from minireptile.tasks.files.folder import load_folder, survey

from .loader_data import encode, noise, write_tree, write_zip

FORMS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "bmp": "BMP", "gif": "GIF", "webp": "WEBP"}


def classes(*names: str, images: int = 3) -> dict[str, bytes]:
    return {
        f"{name}/{i}.png": encode(noise(100 * c + i, 40, 30, 3))
        for c, name in enumerate(names)
        for i in range(images)
    }


EIGHT = classes(*(f"c{i}" for i in range(8)))


def test_folder_and_zip_give_the_same_split(tmp_path: Path) -> None:
    tree = load_folder(write_tree(tmp_path / "tree", EIGHT), seed=3)
    zipped = load_folder(write_zip(tmp_path / "a.zip", EIGHT), seed=3)
    for one, two in (tree.train, zipped.train), (tree.test, zipped.test):
        assert one.names == two.names
        np.testing.assert_array_equal(one.images, two.images)
    assert (len(tree.train), len(tree.test), tree.val, tree.note) == (6, 2, None, "")
    assert set(tree.train.names) | set(tree.test.names) == {f"c{i}" for i in range(8)}
    assert tree.train.images.shape == (18, 28, 28, 1)
    assert tree.train.scale == 1 / 255


def test_pixels(tmp_path: Path) -> None:
    write_tree(tmp_path, EIGHT)
    picture = Image.fromarray(noise(0, 40, 30, 3))

    def first(**options: object) -> np.ndarray:
        splits = load_folder(tmp_path, **options)  # type: ignore[arg-type]
        data = splits.train if "c0" in splits.train.names else splits.test
        return data.images[data.starts[data.names.index("c0")]]

    grey, rgb = picture.convert("L").resize((28, 28)), picture.resize((50, 50))
    np.testing.assert_array_equal(first()[..., 0], np.asarray(grey))
    np.testing.assert_array_equal(first(invert=True)[..., 0], 255 - np.asarray(grey))
    np.testing.assert_array_equal(first(size=50, channels=3), np.asarray(rgb))


def test_every_format_uneven_classes_and_nesting(tmp_path: Path) -> None:
    files = {f"A/one/x.{s}": encode(noise(1, 28, 28), f) for s, f in FORMS.items()}
    files |= classes("A/two", "B", "B/deep/three", images=2)
    splits = load_folder(write_tree(tmp_path, files))
    counts: dict[str, int] = {}
    for data in splits.train, splits.test:
        counts |= dict(zip(data.names, data.counts, strict=True))
    assert counts == {"A/one": 6, "A/two": 2, "B": 2, "B/deep/three": 2}


def test_split_depends_on_seed_and_fraction(tmp_path: Path) -> None:
    write_tree(tmp_path, EIGHT)
    assert len({load_folder(tmp_path, seed=s).test.names for s in range(5)}) > 2
    sizes = [len(load_folder(tmp_path, test_fraction=f).test) for f in (0.01, 0.5, 0.99)]
    assert sizes == [2, 4, 6]


@pytest.mark.parametrize("root", ["", "mine/"])
def test_given_split(tmp_path: Path, root: str) -> None:
    names = ("train/a", "train/b", "train/X/c", "test/d", "test/e", "val/f", "val/g")
    files = {root + name: x for name, x in classes(*names).items()}
    for splits in (
        load_folder(write_tree(tmp_path / "tree", files)),
        load_folder(write_zip(tmp_path / "a.zip", files)),
    ):
        assert splits.val is not None
        assert splits.train.names == ("X/c", "a", "b")
        assert splits.test.names == ("d", "e")
        assert splits.val.names == ("f", "g")
        assert splits.note == ""


def test_notes(tmp_path: Path) -> None:
    files = EIGHT | {"top.png": encode(noise(1, 5, 5)), "docs/a.txt": b"", ".thumbs/a.png": b""}
    write_tree(tmp_path / "a", files)
    (tmp_path / "a/empty").mkdir()
    assert load_folder(tmp_path / "a").note == (
        "images outside class folders left out: 1; folders without images left out: docs, empty"
    )
    shared = classes("train/a", "train/b", "test/b", "test/c")
    note = load_folder(write_tree(tmp_path / "b", shared)).note
    assert note == "test classes that are also training classes: 1"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images"),
        ({"a/readme.txt": b"hello"}, "holds no images"),
        (classes("a"), "holds 1 folders of images"),
        (classes("a", "b", "c"), "holds 3 folders of images"),
        ({"1.png": b"", "2.png": b""}, "holds 0 folders of images"),
        (classes("train/a", "train/b", "test/c", "test/d", "other"), "holds 'other' beside train"),
        (classes("train/a", "train/b", "test/c"), "'test' in .* has only one class"),
        (classes("train", "train/a", "test/c", "test/d"), "lies directly in 'train'"),
        (EIGHT | {"c3/bad.png": b"no image"}, r"c3/bad\.png is damaged"),
        (EIGHT | {"c3/bad.gif": b""}, r"c3/bad\.gif is damaged"),
    ],
)
def test_wrong_folders(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_folder(write_tree(tmp_path, files))


def test_missing_and_unsafe_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="leads out of the archive"):
        load_folder(write_zip(tmp_path / "a.zip", EIGHT | {"../evil.png": b""}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 4}, "channels"),
        ({"size": 0}, "image size"),
        ({"test_fraction": 0.0}, "test fraction"),
        ({"test_fraction": float("nan")}, "test fraction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_folder(write_tree(tmp_path, EIGHT), **arguments)


def test_a_survey_splits_the_classes_as_they_are_loaded(tmp_path: Path) -> None:
    write_tree(tmp_path, EIGHT)
    for fraction, seed in ((0.25, 0), (0.5, 3)):
        found, notes, drawn = survey(tmp_path, test_fraction=fraction, seed=seed)
        splits = load_folder(tmp_path, test_fraction=fraction, seed=seed)
        assert (notes, drawn) == ([], True)
        for part, data in (("train", splits.train), ("test", splits.test)):
            assert tuple(one.name for one in found if one.part == part) == data.names
        assert {(one.images, one.sizes[0]) for one in found} == {(3, (30, 40))}
