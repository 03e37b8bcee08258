"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

Source: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 2015. Preparation as in supervised_reptile/omniglot.py: resized to 28
x 28 by NEAREST, not inverted (paper = 1), rotations as new classes for training only.
"""

import os
import re
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...rng import Stream, generator
from ..images import ImageClasses, Splits, take_classes, with_rotations
from .archive import file_member, read_text
from .omniglot_files import read_characters

_LINE = re.compile(r"(?P<name>.+)/rot(?P<angle>000|090|180|270)")


def load_omniglot(
    path: str | os.PathLike[str], *, seed: int = 0, split: str = "random",
    train_classes: int = 1200, rotations: bool = True,
) -> Splits:  # fmt: skip
    """Load Omniglot and split it by class.

    Parameters
    ----------
    path : path
        A folder with both sets, background and evaluation, each as the official zip
        (``images_background.zip``), unpacked (``images_background/``), or as an array
        (``images_background.npz``: ``images`` (classes, drawings, 105, 105), bool, True = paper;
        names from ``classes.csv`` if it lies beside it). All give the same result.
    seed : int
        Chooses the training classes of the random split.
    split : "random" or "vinyals"
        "random": `train_classes` of all classes at random, the rest for test, as in the paper's
        code. "vinyals": the classes and rotations listed in ``splits_vinyals/{train,val,test}.txt``
        in `path` (Vinyals et al., 2016, as published by Snell et al., 2017).
    train_classes : int
        Size of the training split, if random; 1,200 in the paper.
    rotations : bool
        Add turns by 90, 180 and 270 degrees as new classes: to the training classes if the split
        is random, and wherever the files list them if it is that of Vinyals et al.

    Returns
    -------
    Splits
        Images (N, 28, 28, 1) of {0, 1}, paper = 1.

    Raises
    ------
    InputError
        If files are missing, damaged, or not Omniglot, or an argument is out of range.
    """
    folder = Path(path)
    if split not in ("random", "vinyals"):
        raise InputError(f"Omniglot's split must be 'random' or 'vinyals', not {split!r}")
    characters = read_characters(folder)
    if split == "vinyals":
        return _vinyals(characters, folder / "splits_vinyals", rotations)
    n = len(characters)
    if not 0 < train_classes < n:
        raise InputError(
            f"{train_classes} training classes of {n} leave none for training or none for test: "
            f"choose between 1 and {n - 1}"
        )
    order = generator(seed, Stream.SPLIT).permutation(n)
    train = take_classes(characters, np.sort(order[:train_classes]))
    test = take_classes(characters, np.sort(order[train_classes:]))
    return Splits(with_rotations(train) if rotations else train, test)


def _vinyals(characters: ImageClasses, folder: Path, rotations: bool) -> Splits:
    turned = with_rotations(characters)
    index = {name: c for c, name in enumerate(turned.names)}
    owner: dict[str, str] = {}  # a character belongs to one split, however it is turned
    parts: dict[str, ImageClasses] = {}
    for part in ("train", "val", "test"):
        file = folder / f"{part}.txt"
        if not file.is_file():
            raise InputError(
                f"{file} is missing: put the lists of Vinyals et al. there (data/omniglot/splits/"
                "vinyals of github.com/jakesnell/prototypical-networks), or use split 'random'"
            )
        seen: set[str] = set()
        wanted: list[int] = []
        for line in filter(None, map(str.strip, read_text(file_member(file)).splitlines())):
            found = _LINE.fullmatch(line)
            if found is None:
                raise InputError(f"{file}: {line!r} is not ALPHABET/characterNN/rotDDD: correct it")
            if line not in index:
                raise InputError(
                    f"{file} lists {line!r}, which is not in the data: with npz files put "
                    "classes.csv beside them, otherwise get the data or the lists again"
                )
            if owner.setdefault(found["name"], part) != part or line in seen:
                raise InputError(f"{file} lists {line!r} a second time: correct the lists")
            seen.add(line)
            if rotations or found["angle"] == "000":
                wanted.append(index[line])
        if not wanted:
            raise InputError(f"{file} lists no class: get the lists again")
        parts[part] = take_classes(turned, wanted)
    return Splits(parts["train"], parts["test"], parts["val"])
