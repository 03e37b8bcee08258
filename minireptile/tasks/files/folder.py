"""One's own images: a folder or a zip with a folder of images for each class."""

from __future__ import annotations

import os
import posixpath
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...checks import whole
from ...errors import InputError, require
from ...rng import Stream, generator
from ..images import Splits, take_classes
from .archive import Files, Member, open_files
from .decode import decode, images_in, read_classes

if TYPE_CHECKING:
    from PIL.Image import Image

Classes = dict[str, list[Member]]


def load_folder(
    path: str | os.PathLike[str], *, size: int = 28, channels: int = 1, test_fraction: float = 0.25,
    seed: int = 0, invert: bool = False,
) -> Splits:  # fmt: skip
    """Load a folder, or a zip of it, in which every class has a folder of images.

    Parameters
    ----------
    path : path
        A class is any folder that directly holds images (png, jpg, jpeg, bmp, gif, webp), however
        deep; its name is its relative path. If ``train/`` and ``test/`` lie at the top, with or
        without ``val/``, they are the split.
    size : int
        Images are resized to `size` x `size` by Pillow's default filter.
    channels : 1 or 3
        Grey or RGB. Transparent parts become white.
    test_fraction : float
        Without ``train/`` and ``test/``, the part of the classes, drawn at random, that is kept
        for test: at least 2, and at least 2 remain for training.
    seed : int
        Chooses these classes.
    invert : bool
        Swap dark and light.

    Returns
    -------
    Splits
        Images (N, size, size, channels) of bytes, scale 1/255. `note` tells of folders without
        images, images outside folders, and test classes named like training classes.

    Raises
    ------
    InputError
        If there are too few classes, an image is damaged, or an argument is out of range.
    """
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {channels}")
    whole(size, "the image size", 1, 1024)

    def pixels(member: Member) -> NDArray:
        picture = to_mode(decode(member), "L" if channels == 1 else "RGB")
        if picture.size != (size, size):
            picture = picture.resize((size, size))
        array = np.asarray(picture).reshape(size, size, channels)
        return 255 - array if invert else array

    with open_files(Path(path)) as files:
        parts, notes = _classes(files)
        read = {
            part: read_classes(classes, pixels, (size, size, channels), 1 / 255)
            for part, classes in parts.items()
        }
    note = "; ".join(notes)
    if "" not in read:
        return Splits(read["train"], read["test"], read.get("val"), note)
    train, test = _drawn(len(read[""]), test_fraction, seed)
    return Splits(take_classes(read[""], train), take_classes(read[""], test), None, note)


def _drawn(n: int, test_fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of n classes, those to train on and those for test."""
    if not 0 < test_fraction < 1:
        raise InputError(f"the test fraction must lie between 0 and 1, not {test_fraction}")
    n_test = min(max(round(n * test_fraction), 2), n - 2)
    order = generator(seed, Stream.SPLIT).permutation(n)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


@dataclass(frozen=True)
class Found:
    """What a folder has of a class."""

    part: str  # "train", "val" or "test"
    name: str
    images: int  # those that can be read
    sizes: tuple[tuple[int, int], ...]  # width and height of each
    colours: frozenset[str]
    damaged: tuple[str, ...]  # a sentence for each file that cannot be read


def survey(
    path: str | os.PathLike[str], *, test_fraction: float = 0.25, seed: int = 0
) -> tuple[list[Found], list[str], bool]:
    """Look at every image of a folder, or a zip of it, as `load_folder` would split it: the
    classes, notes as in `Splits.note`, and whether those for test were drawn, there being no
    folders to say which. `InputError` if there are too few classes."""
    with open_files(Path(path)) as files:
        parts, notes = _classes(files)
        named = {part: list(classes) for part, classes in parts.items()}
        if drawn := "" in parts:
            names = named.pop("")
            for part, chosen in zip(("train", "test"), _drawn(len(names), test_fraction, seed),
                                    strict=True):  # fmt: skip
                named[part] = [names[c] for c in chosen]
        found = [
            _found(part, name, parts["" if drawn else part][name])
            for part, classes in named.items() for name in classes
        ]  # fmt: skip
    return found, notes, drawn


def _found(part: str, name: str, members: list[Member]) -> Found:
    sizes, colours, damaged = [], set(), []
    for member in members:
        try:
            picture = decode(member)
        except InputError as error:
            damaged.append(str(error))
            continue
        sizes.append(picture.size)
        colours.add("grey" if picture.mode[0] in "1LIF" else "colour")
    return Found(part, name, len(sizes), tuple(sizes), frozenset(colours), tuple(damaged))


def to_mode(picture: Image, mode: str) -> Image:
    """Grey ("L") or RGB, upright, on white, and with 16 bits brought down to 8."""
    pil, ops = require("PIL.Image", "cli"), require("PIL.ImageOps", "cli")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata does not matter here
        picture = ops.exif_transpose(picture)
    if picture.mode.startswith("I"):  # convert() would clip to 255 instead
        picture = pil.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        paper = pil.new("RGBA", picture.size, "white")
        picture = pil.alpha_composite(paper, picture)
    return picture.convert(mode)


def _classes(files: Files) -> tuple[dict[str, Classes], list[str]]:
    """Classes by part ("" if there are no parts), and what is worth telling."""
    pictures = images_in(files)
    top = _above_parts(pictures)
    classes: Classes = {}
    for member in pictures:
        classes.setdefault("/".join(member.parts[top:-1]), []).append(member)
    notes = []
    if loose := classes.pop("", []):
        notes.append(f"images outside class folders left out: {len(loose)}")
    holding = {p.as_posix() for m in pictures for p in PurePosixPath(m.name).parents}
    if empty := [f for f in files.folders if f not in holding]:
        notes.append(f"folders without images left out: {', '.join(sorted(empty))}")
    tops = {name.partition("/")[0] for name in classes}
    if not {"train", "test"} <= tops:
        if len(classes) < 4:
            raise InputError(
                f"{files.path} holds {len(classes)} folders of images, and a split needs 2 "
                "classes for training and 2 for test: give each class a folder of its own"
            )
        return {"": classes}, notes
    if other := sorted(tops - {"train", "val", "test"}):
        raise InputError(
            f"{files.path} holds {other[0]!r} beside train and test: move it into one of them"
        )
    parts: dict[str, Classes] = {}
    for name, members in classes.items():
        part, _, rest = name.partition("/")
        if not rest:
            raise InputError(
                f"{members[0].where} lies directly in {part!r}: put it into a folder for its class"
            )
        parts.setdefault(part, {})[rest] = members
    for part, found in parts.items():
        if len(found) < 2:
            raise InputError(f"{part!r} in {files.path} has only one class: it needs at least 2")
    if shared := len(parts["train"].keys() & parts["test"].keys()):
        notes.append(f"test classes that are also training classes: {shared}")
    return parts, notes


def _above_parts(pictures: list[Member]) -> int:
    """How many folders lie above ``train/`` and ``test/``: a zip often wraps all in one."""
    shared = posixpath.commonpath(posixpath.dirname(member.name) for member in pictures)
    depth = len(PurePosixPath(shared).parts)
    tops = {member.parts[depth] for member in pictures}
    return depth if {"train", "test"} <= tops else 0
