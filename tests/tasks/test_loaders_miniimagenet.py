"""Mini-ImageNet from zips, folders and csv lists."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireptile.errors import InputError
from minireptile.tasks.files import miniimagenet
from minireptile.tasks.files.miniimagenet import load_miniimagenet
from minireptile.tasks.images import Splits

from .loader_data import encode, noise, write_tree, write_zip

SHAPE = {"train": (4, 3), "val": (2, 2), "test": (3, 5)}  # classes, images in each


def jpegs(part: str) -> Iterator[tuple[str, str, bytes]]:
    """Class, file name and content, in an order that is not sorted."""
    classes, images = SHAPE[part]
    for c in reversed(range(classes)):
        for i in range(images):
            seed = 100 * c + i + 10**4 * len(part)
            yield (
                f"n{len(part)}{c}",
                f"n{len(part)}{c}_{i}.jpg",
                encode(noise(seed, 84, 84, 3), "JPEG"),
            )


def folders(*parts: str) -> dict[str, bytes]:
    return {f"{part}/{wnid}/{name}": x for part in parts for wnid, name, x in jpegs(part)}


def write_ravi(path: Path) -> Path:
    pictures = {f"images/{name}": x for part in SHAPE for _, name, x in jpegs(part)}
    write_zip(path / "images.zip", pictures)
    for part in SHAPE:
        rows = "".join(f"{name},{wnid}\n" for wnid, name, _ in jpegs(part))
        write_tree(path / "splits_ravi", {f"{part}.csv": f"filename,label\n{rows}".encode()})
    return path


def assert_same(one: Splits, two: Splits) -> None:
    assert one.note == two.note
    for part in ("train", "val", "test"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.names == b.names
        assert a.scale == b.scale
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.starts, b.starts)


def test_zips_folders_and_lists_give_the_same_data(tmp_path: Path) -> None:
    write_zip(tmp_path / "mixed/some.zip", folders("test"))
    write_zip(tmp_path / "mixed/other.zip", folders("train"))
    mixed = load_miniimagenet(write_tree(tmp_path / "mixed/deep", folders("val")).parent)
    tree = load_miniimagenet(write_tree(tmp_path / "tree", folders(*SHAPE)))
    lists = load_miniimagenet(write_ravi(tmp_path / "ravi"), split="csv")
    assert_same(mixed, tree)
    assert_same(mixed, lists)
    assert mixed.train.names == ("n50", "n51", "n52", "n53")
    assert mixed.train.images.shape == (12, 84, 84, 3)
    assert mixed.train.scale == 1 / 255
    assert list(mixed.test.counts) == [5, 5, 5]
    with Image.open(tmp_path / "tree/test/n41/n41_0.jpg") as first:
        np.testing.assert_array_equal(mixed.test.images[5], np.asarray(first))


def test_val_may_be_absent_and_the_note_counts(tmp_path: Path) -> None:
    write_tree(tmp_path, folders("train", "test"))
    splits = load_miniimagenet(tmp_path)
    assert splits.val is None
    assert splits.note == "3 of 600 images a class"
    (tmp_path / "train/n50/n50_0.jpg").unlink()
    splits = load_miniimagenet(tmp_path)
    assert splits.note == "2 to 3 of 600 images a class"
    assert list(splits.train.counts) == [2, 3, 3, 3]


def test_no_note_for_whole_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniimagenet, "FULL", 3)
    assert load_miniimagenet(write_tree(tmp_path, folders("train", "test"))).note == ""


def test_other_sizes_and_modes_become_rgb_of_the_size(tmp_path: Path) -> None:
    files = folders("train", "test")
    files["train/n50/n50_0.jpg"] = encode(noise(3, 50, 70), "JPEG")
    write_tree(tmp_path, files)
    with Image.open(tmp_path / "train/n50/n50_0.jpg") as grey:
        picture = grey.convert("RGB")
    at_84 = load_miniimagenet(tmp_path).train.images[0]
    np.testing.assert_array_equal(at_84, np.asarray(picture.resize((84, 84))))
    assert load_miniimagenet(tmp_path, size=32).test.images.shape == (15, 32, 32, 3)


def test_missing_foreign_and_damaged_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        load_miniimagenet(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no train images"):
        load_miniimagenet(tmp_path)
    write_zip(tmp_path / "foreign.zip", {"cats/1.jpg": b""})
    with pytest.raises(InputError, match="holds no train images"):
        load_miniimagenet(tmp_path)
    write_zip(tmp_path / "train.zip", folders("train"))
    with pytest.raises(InputError, match="holds no test images"):
        load_miniimagenet(tmp_path)
    files = folders("test")
    files["test/n41/n41_2.jpg"] = files["test/n41/n41_2.jpg"][:900]
    write_zip(tmp_path / "test.zip", files)
    with pytest.raises(InputError, match=r"'test/n41/n41_2\.jpg' in .*test\.zip is damaged"):
        load_miniimagenet(tmp_path)
    whole = (tmp_path / "train.zip").read_bytes()
    (tmp_path / "train.zip").write_bytes(whole[:5000])
    with pytest.raises(InputError, match=r"train\.zip is not a zip archive"):
        load_miniimagenet(tmp_path)
    write_zip(tmp_path / "train.zip", {"../train/n50/x.jpg": b""})
    with pytest.raises(InputError, match="leads out of the archive"):
        load_miniimagenet(tmp_path)


def test_a_file_or_class_in_two_places_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, folders("train", "test"))
    archive = write_zip(tmp_path / "train.zip", folders("train"))
    with pytest.raises(InputError, match=r"n50_0\.jpg.* is also at .*keep one"):
        load_miniimagenet(tmp_path)
    write_zip(archive, {"test/n51/other.jpg": b""})
    with pytest.raises(InputError, match="class 'n51' is in train and in test"):
        load_miniimagenet(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"split": "ravi"}, "'folders' or 'csv'"), ({"size": 0}, "size"), ({"size": 4096}, "size")],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_miniimagenet(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,label\nn40_0.jpg,n40", r"test\.csv has no column 'filename'"),
        ("", r"test\.csv has no column 'filename'"),
        ("filename,label\nn40_0.jpg\n", "row 1 is incomplete"),
        ("filename,label\nmissing.jpg,n40\n", r"'missing\.jpg', listed in .*test\.csv, is not in"),
        ("filename,label\n" + "n40_0.jpg,n40\n" * 2, r"lists 'n40_0\.jpg' a second time"),
        ("filename,label\nn50_0.jpg,n40\n", r"lists 'n50_0\.jpg' a second time"),
        ("filename,label\nn40_0.jpg,n50\n", "class 'n50' is in train and in test"),
        ("filename,label\n", "holds no test images"),
        ('filename,label\n"n40_0.jpg', "is not a CSV table"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_wrong_lists(tmp_path: Path, table: str | bytes, message: str) -> None:
    content = table if isinstance(table, bytes) else table.encode()
    write_tree(write_ravi(tmp_path), {"splits_ravi/test.csv": content})
    with pytest.raises(InputError, match=message):
        load_miniimagenet(tmp_path, split="csv")


def test_missing_and_double_lists_and_images(tmp_path: Path) -> None:
    write_ravi(tmp_path)
    (tmp_path / "splits_ravi/val.csv").unlink()
    assert load_miniimagenet(tmp_path, split="csv").val is None
    copy = write_tree(tmp_path, {"more/n40_0.jpg": b""}) / "more/n40_0.jpg"
    with pytest.raises(InputError, match=r"'n40_0\.jpg'.* is there twice"):
        load_miniimagenet(tmp_path, split="csv")
    copy.unlink()
    write_tree(tmp_path, {"test.csv": b""})
    with pytest.raises(InputError, match=r"test\.csv is there twice"):
        load_miniimagenet(tmp_path, split="csv")
    for file in tmp_path.rglob("test.csv"):
        file.unlink()
    with pytest.raises(InputError, match=r"test\.csv is not in"):
        load_miniimagenet(tmp_path, split="csv")


def test_part_of_the_real_data(shared_data: Path, tmp_path: Path) -> None:
    for name, each in ("miniimagenet_test.zip", 10), ("miniimagenet_train_part1of3.zip", 3):
        with zipfile.ZipFile(shared_data / "miniimagenet" / name) as archive:
            groups: dict[str, list[str]] = {}
            for member in archive.namelist():
                groups.setdefault(member.rpartition("/")[0], []).append(member)
            if "test" in name:
                assert sorted(map(len, groups.values())) == [600] * 20
            chosen = [member for members in groups.values() for member in members[:each]]
            write_zip(tmp_path / name, {member: archive.read(member) for member in chosen})
    splits = load_miniimagenet(tmp_path)
    assert splits.train.images.shape == (64 * 3, 84, 84, 3)
    assert splits.test.images.shape == (20 * 10, 84, 84, 3)
    assert splits.val is None
    assert splits.note == "3 of 600 images a class"
    assert 0.3 < splits.test.images.mean() * splits.test.scale < 0.6
