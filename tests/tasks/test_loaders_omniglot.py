"""Omniglot from zips, folders and arrays: the same data, prepared as in the paper's code."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from minireptile.errors import InputError
from minireptile.tasks.files.omniglot import load_omniglot
from minireptile.tasks.files.omniglot_files import shrink
from minireptile.tasks.images import FewShot, ImageClasses, Splits

from .loader_data import encode, noise, write_tree, write_zip

DRAWERS = 4
CLASSES = [  # set, alphabet, character; in the order of the official numbers 1 to 12
    *(("background", "Latin", c) for c in range(1, 4)),
    *(("background", "Arabic", c) for c in range(1, 5)),  # not in the order of the alphabet
    *(("evaluation", "Tibetan", c) for c in range(1, 6)),
]
NAMES = [f"{alphabet}/character{c:02d}" for _, alphabet, c in CLASSES]
DRAWINGS = noise(7, len(CLASSES), DRAWERS, 105, 105) > 127


def pngs(part: str) -> dict[str, bytes]:
    return {
        f"images_{part}/{name}/{row + 1:04d}_{drawer + 1:02d}.png": encode(DRAWINGS[row, drawer])
        for row, (name, (own, _, _)) in enumerate(zip(NAMES, CLASSES, strict=True))
        for drawer in range(DRAWERS)
        if own == part
    }


def write_zips(path: Path) -> Path:
    for part in ("background", "evaluation"):
        # Backwards, since nothing may depend on the order in an archive.
        write_zip(path / f"images_{part}.zip", dict(reversed(pngs(part).items())))
    return path


def write_folders(path: Path) -> Path:
    for part in ("background", "evaluation"):
        write_tree(path, pngs(part))
    return path


def write_arrays(path: Path, names: bool = True) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path / "images_background.npz", images=DRAWINGS[:7])
    np.savez(path / "images_evaluation.npz", images=DRAWINGS[7:])
    if names:
        rows = ["official_id,split,npz_row,alphabet,character,vinyals_split"]
        for i, (part, alphabet, c) in enumerate(CLASSES):
            row = i if part == "background" else i - 7
            rows.append(f"{i + 1},{part},{row},{alphabet},character{c:02d},train")
        (path / "classes.csv").write_text("\n".join(rows))
    return path


def write_lists(path: Path) -> None:
    parts = {"train": NAMES[:6], "val": NAMES[6:8], "test": NAMES[8:]}
    for part, names in parts.items():
        lines = [f"{name}/rot{angle:03d}\n" for name in names for angle in (0, 90, 180, 270)]
        write_tree(path / "splits_vinyals", {f"{part}.txt": "".join(lines).encode()})


def assert_same(one: Splits, two: Splits, names: bool = True) -> None:
    for part in ("train", "val", "test"):
        a, b = getattr(one, part), getattr(two, part)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.starts, b.starts)
            assert a.scale == b.scale
            assert a.names == b.names or not names


def of_class(data: ImageClasses, name: str) -> NDArray[np.uint8]:
    c = data.names.index(name)
    return data.images[data.starts[c] : data.starts[c + 1], :, :, 0]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_shrinking_is_pillows_nearest(seed: int) -> None:
    drawing = noise(seed, 105, 105) > 127
    expected = Image.fromarray(drawing).resize((28, 28), Image.Resampling.NEAREST)
    assert Image.fromarray(drawing).mode == "1"
    np.testing.assert_array_equal(shrink(drawing), np.asarray(expected))


@pytest.mark.parametrize("split", ["random", "vinyals"])
def test_zips_folders_and_arrays_give_the_same_data(tmp_path: Path, split: str) -> None:
    kinds: dict[str, Callable[[Path], Path]] = {
        "zips": write_zips,
        "folders": write_folders,
        "arrays": write_arrays,
    }
    loaded = []
    for kind, write in kinds.items():
        write_lists(write(tmp_path / kind))
        loaded.append(load_omniglot(tmp_path / kind, seed=5, split=split, train_classes=8))
    assert_same(loaded[0], loaded[1])
    assert_same(loaded[0], loaded[2])
    if split == "random":
        bare = load_omniglot(write_arrays(tmp_path / "bare", names=False), seed=5, train_classes=8)
        assert_same(loaded[0], bare, names=False)
        assert set(bare.test.names) < {f"character{i:04d}" for i in range(1, 13)}


def test_random_split_prepares_as_the_paper_does(tmp_path: Path) -> None:
    splits = load_omniglot(write_zips(tmp_path), train_classes=8)
    train, test = splits.train, splits.test
    assert splits.val is None
    assert splits.note == ""
    assert (len(train), len(test)) == (4 * 8, 4)
    assert train.images.shape == (4 * 8 * DRAWERS, 28, 28, 1)
    assert train.images.dtype == np.uint8
    assert train.scale == 1.0
    assert {name.rpartition("/")[0] for name in train.names} | set(test.names) == set(NAMES)
    for row, name in enumerate(NAMES):
        for drawer in range(DRAWERS):
            small = Image.fromarray(DRAWINGS[row, drawer]).resize((28, 28), 0)
            if name in test.names:  # never turned; white paper is 1
                np.testing.assert_array_equal(of_class(test, name)[drawer], np.asarray(small))
                continue
            for angle in (0, 90, 180, 270):
                turned = of_class(train, f"{name}/rot{angle:03d}")[drawer]
                np.testing.assert_array_equal(turned, np.asarray(small.rotate(angle)))
    task = FewShot(train, 5).draw(np.random.default_rng(0), 1, 1)
    assert set(np.unique(task.support_x)) == {0.0, 1.0}


def test_seed_and_rotations(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    tests = {load_omniglot(tmp_path, seed=s, train_classes=8).test.names for s in range(6)}
    assert len(tests) > 3
    plain = load_omniglot(tmp_path, seed=2, train_classes=8, rotations=False)
    turned = load_omniglot(tmp_path, seed=2, train_classes=8)
    assert len(plain.train) == 8
    assert plain.test.names == turned.test.names
    assert not set(plain.train.names) & set(plain.test.names)


def test_vinyals_follows_the_lists(tmp_path: Path) -> None:
    write_lists(write_zips(tmp_path))
    splits = load_omniglot(tmp_path, split="vinyals")
    assert splits.val is not None
    assert [len(splits.train), len(splits.val), len(splits.test)] == [24, 8, 16]
    assert splits.test.names[1] == f"{NAMES[8]}/rot090"
    expected = np.rot90(shrink(DRAWINGS[8]), 1, axes=(1, 2))
    np.testing.assert_array_equal(of_class(splits.test, splits.test.names[1]), expected)
    plain = load_omniglot(tmp_path, split="vinyals", rotations=False)
    assert plain.test.names == tuple(f"{name}/rot000" for name in NAMES[8:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"test\.txt is missing"),
        ("", "lists no class"),
        ("Latin/character01", "is not ALPHABET/characterNN/rotDDD"),
        ("Latin/character77/rot000", "which is not in the data"),
        ("Tibetan/character05/rot000\n" * 2, "a second time"),
        ("Latin/character01/rot000", "a second time"),  # turned, it is for training
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_wrong_lists(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    write_lists(write_arrays(tmp_path))
    file = tmp_path / "splits_vinyals" / "test.txt"
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_omniglot(tmp_path, split="vinyals")


def test_vinyals_needs_names(tmp_path: Path) -> None:
    write_lists(write_arrays(tmp_path, names=False))
    with pytest.raises(InputError, match=r"with npz files put classes\.csv beside them"):
        load_omniglot(tmp_path, split="vinyals")


def test_uneven_classes_and_other_files_are_fine(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "images_background/Latin/character02/0002_03.png").unlink()
    write_tree(tmp_path / "images_background", {"README.txt": b"", "Latin/.DS_Store": b""})
    data = load_omniglot(tmp_path, train_classes=8, rotations=False)
    counts = dict(zip(data.train.names, data.train.counts, strict=True))
    counts |= dict(zip(data.test.names, data.test.counts, strict=True))
    assert counts.pop("Latin/character02") == DRAWERS - 1
    assert set(counts.values()) == {DRAWERS}


def test_drawings_stored_as_grey_are_read_as_black_and_white(tmp_path: Path) -> None:
    expected = load_omniglot(write_folders(tmp_path), train_classes=8)
    for file in tmp_path.rglob("0001_*.png"):
        with Image.open(file) as picture:
            grey = picture.convert("L")
        grey.save(file)
    assert_same(load_omniglot(tmp_path, train_classes=8), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "lake"}, "'random' or 'vinyals', not 'lake'"),
        ({"train_classes": 12}, "12 training classes of 12"),
        ({"train_classes": 0}, "0 training classes of 12"),
        ({"train_classes": 8, "seed": -1}, "seed"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_omniglot(write_arrays(tmp_path), **arguments)


def test_missing_and_foreign_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        load_omniglot(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no images_background"):
        load_omniglot(tmp_path)
    write_zips(tmp_path)
    (tmp_path / "images_evaluation.zip").unlink()
    with pytest.raises(InputError, match="holds no images_evaluation"):
        load_omniglot(tmp_path)
    write_zip(tmp_path / "images_evaluation.zip", {"cats/1.png": encode(DRAWINGS[0, 0])})
    with pytest.raises(InputError, match="not an Omniglot archive"):
        load_omniglot(tmp_path)
    shutil.copy(tmp_path / "images_background.zip", tmp_path / "images_evaluation.zip")
    with pytest.raises(InputError, match="two characters of the number 1"):
        load_omniglot(tmp_path)


def test_damaged_drawings(tmp_path: Path) -> None:
    write_folders(tmp_path)
    file = tmp_path / "images_background/Latin/character02/0002_03.png"
    content = file.read_bytes()
    file.write_bytes(encode(DRAWINGS[0, 0, :, :28]))
    with pytest.raises(InputError, match=r"0002_03\.png is 28 x 105 pixels"):
        load_omniglot(tmp_path, train_classes=8)
    file.write_bytes(content[:-40])
    with pytest.raises(InputError, match=r"0002_03\.png is damaged"):
        load_omniglot(tmp_path, train_classes=8)
    file.write_bytes(content)
    file.rename(file.with_name("0009_03.png"))
    with pytest.raises(InputError, match=r"character02' .* drawings of two characters"):
        load_omniglot(tmp_path, train_classes=8)


GOOD = DRAWINGS[:7]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": GOOD}, "has no array 'images'"),
        ({"images": GOOD.astype(np.uint8)}, "is uint8 of shape"),
        ({"images": GOOD[..., :28]}, r"of shape \(7, 4, 105, 28\)"),
        ({"images": GOOD[0]}, r"of shape \(4, 105, 105\)"),
        ({"images": GOOD[:0]}, "is empty or cut short"),
        ({"images": np.asfortranarray(GOOD)}, "in C order"),
        ({"images": np.array([[{}]], object)}, "is object of shape"),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, NDArray], message: str) -> None:
    write_arrays(tmp_path)
    np.savez(tmp_path / "images_background.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        load_omniglot(tmp_path, train_classes=8)


def test_damaged_array_files(tmp_path: Path) -> None:
    file = write_arrays(tmp_path) / "images_evaluation.npz"
    content = file.read_bytes()
    at = len(content) // 2
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    for damaged in (b"", b"\x80\x04pickle", content[:-500], flipped):
        file.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"images_evaluation\.npz is no npz file or is damaged"
        ):
            load_omniglot(tmp_path, train_classes=8)
    # A header that promises more than there is must not be believed.
    header = b"{'descr': '|b1', 'fortran_order': False, 'shape': (99999999, 20, 105, 105), }"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    write_zip(file, {"images.npy": npy})
    with pytest.raises(InputError, match="is empty or cut short"):
        load_omniglot(tmp_path, train_classes=8)
    write_zip(file, {"images.npy": npy}, zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match="compressed by method 14"):
        load_omniglot(tmp_path, train_classes=8)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("official_id", "id"), r"classes\.csv has no column 'official_id'"),
        (("1,background,0,", "one,background,0,"), "is no integer"),
        (("1,background,0,", "2,background,0,"), "two characters of the number 2"),
        (
            ("Latin,character01", "Latin,character02"),
            "two characters of the name Latin/character02",
        ),
        (("1,background,0,Latin,character01,train\n", ""), "does not name its row 0"),
        (("Latin,character01,train", "Latin"), "row 1 is incomplete"),
    ],
)
def test_wrong_names(tmp_path: Path, edit: tuple[str, str], message: str) -> None:
    table = write_arrays(tmp_path) / "classes.csv"
    assert edit[0] in table.read_text()
    table.write_text(table.read_text().replace(*edit, 1))
    with pytest.raises(InputError, match=message):
        load_omniglot(tmp_path, train_classes=8)


@pytest.mark.long
def test_real_zips_and_arrays_are_the_same(shared_data: Path, tmp_path: Path) -> None:
    for kind in ("zip", "npz"):
        (tmp_path / kind).mkdir()
        for file in (shared_data / "omniglot").iterdir():
            if file.suffix == f".{kind}" or file.name in ("classes.csv", "splits_vinyals"):
                (tmp_path / kind / file.name).symlink_to(file)
    arrays = load_omniglot(tmp_path / "npz", seed=1)
    assert (len(arrays.train), len(arrays.test)) == (4 * 1200, 423)
    assert set(arrays.train.counts) == set(arrays.test.counts) == {20}
    assert_same(load_omniglot(tmp_path / "zip", seed=1), arrays)
    lists = load_omniglot(tmp_path / "npz", split="vinyals")
    assert lists.val is not None
    assert [len(lists.train), len(lists.val), len(lists.test)] == [4112, 688, 1692]
