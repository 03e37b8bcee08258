"""Mini-ImageNet: 100 classes of 600 photographs, 84 x 84, in RGB.

Source: Vinyals et al., 2016; the split of Ravi and Larochelle, 2017 (64 / 16 / 20 classes).
"""

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...checks import whole
from ...errors import InputError
from ..images import ImageClasses, Splits
from .archive import Files, Member, open_with_zips
from .decode import decode, is_image, read_classes
from .tables import read_table

PARTS = ("train", "val", "test")
FULL = 600  # images a class in the whole data set

Groups = dict[str, dict[str, list[Member]]]  # part -> class -> files


def load_miniimagenet(
    path: str | os.PathLike[str], *, split: str = "folders", size: int = 84
) -> Splits:
    """Load Mini-ImageNet, or any photographs laid out like it.

    Parameters
    ----------
    path : path
        A folder with images, unpacked or in any number of zips lying directly in it.
    split : "folders" or "csv"
        "folders": images lie at ``PART/CLASS/FILE.jpg``, where PART is train, val or test.
        "csv": ``train.csv``, ``val.csv`` and ``test.csv`` (columns filename, label), anywhere in
        the folder or its zips, name images that lie anywhere else in them. val may be absent.
    size : int
        Images of another size are resized to `size` x `size` by Pillow's default filter.

    Returns
    -------
    Splits
        Images (N, size, size, 3) of bytes, scale 1/255. `note` says so if training classes have
        fewer than 600 images.

    Raises
    ------
    InputError
        If files are missing, damaged or named twice, or a class is in two parts.
    """
    folder = Path(path)
    if split not in ("folders", "csv"):
        raise InputError(f"Mini-ImageNet's split must be 'folders' or 'csv', not {split!r}")
    whole(size, "the image size", 1, 1024)
    with open_with_zips(folder) as files:
        groups = _by_folder(files) if split == "folders" else _by_table(files)
        _check(groups, folder)
        return _splits(_read(groups, size))


def _by_folder(files: Files) -> Groups:
    groups: Groups = {}
    for member in files.members:
        part, name = ("", "", *member.parts)[-3:-1]
        if part in PARTS and is_image(member):
            groups.setdefault(part, {}).setdefault(name, []).append(member)
    return groups


def _by_table(files: Files) -> Groups:
    tables: dict[str, list[Member]] = {}
    pictures: dict[str, list[Member]] = {}
    for member in files.members:
        (pictures if is_image(member) else tables).setdefault(member.parts[-1], []).append(member)
    groups: Groups = {}
    listed: set[str] = set()
    for part in PARTS:
        if part == "val" and "val.csv" not in tables:
            continue
        table = _only(tables.get(f"{part}.csv", []), f"{part}.csv", files.path)
        classes = groups.setdefault(part, {})
        for row in read_table(table, ["filename", "label"]):
            name = row["filename"]
            if name in listed:
                raise InputError(f"{table.where} lists {name!r} a second time: correct the lists")
            listed.add(name)
            classes.setdefault(row["label"], []).append(
                _only(pictures.get(name, []), f"{name!r}, listed in {table.where},", files.path)
            )
    return groups


def _only(found: Sequence[Member], what: str, path: Path) -> Member:
    if not found:
        raise InputError(f"{what} is not in {path} or its zips: complete the data")
    if len(found) > 1:
        raise InputError(f"{what} is there twice ({found[0].where}; {found[1].where}): keep one")
    return found[0]


def _check(groups: Groups, path: Path) -> None:
    """Sort classes and files; refuse missing parts, classes in two parts, files there twice."""
    owner: dict[str, str] = {}
    for part in PARTS:
        if part != "val" and not groups.get(part):
            raise InputError(
                f"{path} holds no {part} images, at {part}/CLASS/FILE.jpg or listed in "
                f"{part}.csv, unpacked or in a zip: check the path and the split"
            )
        classes = groups.pop(part, {})
        for name, members in sorted(classes.items()):
            if owner.setdefault(name, part) != part:
                raise InputError(
                    f"class {name!r} is in {owner[name]} and in {part}, and tests would be on "
                    "classes seen in training: correct the split"
                )
            members.sort(key=lambda member: member.parts[-1])
            for one, two in pairwise(members):
                if one.parts[-1] == two.parts[-1]:
                    raise InputError(f"{one.where} is also at {two.where}: keep one of the two")
        if classes:
            groups[part] = dict(sorted(classes.items()))


def _read(groups: Groups, size: int) -> dict[str, ImageClasses]:
    def pixels(member: Member) -> NDArray:
        picture = decode(member).convert("RGB")
        return np.asarray(picture if picture.size == (size, size) else picture.resize((size, size)))

    return {
        part: read_classes(classes, pixels, (size, size, 3), 1 / 255)
        for part, classes in groups.items()
    }


def _splits(data: Mapping[str, ImageClasses]) -> Splits:
    few, many = (f(data["train"].counts) for f in (np.min, np.max))
    note = ""
    if few < FULL:
        note = f"{few if few == many else f'{few} to {many}'} of {FULL} images a class"
    return Splits(data["train"], data["test"], data.get("val"), note)
