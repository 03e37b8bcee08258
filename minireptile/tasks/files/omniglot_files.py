"""Omniglot's drawings from any of the three forms in which they are handed around.

Every character has an official number, 1 to 1623 over both sets, which begins the names of its
files. All three forms are put in the order of these numbers, and so give the same data.
"""

import re
import tokenize
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..images import ImageClasses
from .archive import BROKEN_ZIP, Files, Member, file_member, open_entry, open_files
from .decode import decode
from .tables import read_table

SETS = ("background", "evaluation")
SIDE, SIZE = 105, 28
# Pillow's NEAREST takes, for output pixel i, the input pixel under its centre:
# floor((i + 1/2) * 105 / 28).
NEAREST = (2 * np.arange(SIZE) + 1) * SIDE // (2 * SIZE)

_FILE = re.compile(r"(?:^|/)([^/]+/character\d+)/(\d{4})_\d{2}\.png$")


@dataclass(frozen=True)
class Character:
    """One character: official number, name "Alphabet/characterNN", drawings (n, 28, 28)."""

    number: int
    name: str
    drawings: NDArray[np.uint8]


def read_characters(path: Path) -> ImageClasses:
    """All characters of both sets, in the order of their official numbers: (N, 28, 28, 1) of {0,
    1}, paper = 1, scale 1. Of each set, the first that is there of ``images_SET.npz``,
    ``images_SET.zip`` and the folder ``images_SET`` is read. `InputError` if a set is missing,
    damaged, or not Omniglot."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give the folder that holds Omniglot")
    characters: list[Character] = []
    for part in SETS:
        characters += _read_set(path, part, first=len(characters) + 1)
    characters.sort(key=lambda character: character.number)
    for field in ("number", "name"):
        tally = Counter(getattr(character, field) for character in characters)
        value, times = tally.most_common(1)[0]
        if times > 1:
            raise InputError(f"{path} holds two characters of the {field} {value}: remove one")
    return ImageClasses(
        np.concatenate([c.drawings for c in characters])[..., None],
        np.cumsum([0, *(len(c.drawings) for c in characters)], dtype=np.int64),
        tuple(c.name for c in characters),
        1.0,
    )


def _read_set(path: Path, part: str, first: int) -> list[Character]:
    base = path / f"images_{part}"
    if (arrays := base.with_suffix(".npz")).exists():
        return list(_from_arrays(arrays, _numbers_and_names(path, part, first)))
    for source in (base.with_suffix(".zip"), base):
        if source.exists():
            with open_files(source) as files:
                return list(_from_pictures(files))
    raise InputError(
        f"{path} holds no images_{part} (as .zip, .npz or folder): give the folder that holds "
        "images_background.zip and images_evaluation.zip"
    )


def _from_pictures(files: Files) -> Iterator[Character]:
    folders: dict[str, list[Member]] = {}
    for member in files.members:
        if _FILE.search(member.name):
            folders.setdefault(member.name.rpartition("/")[0], []).append(member)
    if not folders:
        raise InputError(
            f"{files.path} holds no drawings named ALPHABET/characterNN/NNNN_MM.png: "
            "it is not an Omniglot archive, check the path"
        )
    for folder, members in folders.items():
        found = [_FILE.search(member.name) for member in members]
        keys = {(m[1], int(m[2])) for m in found if m}
        if len(keys) > 1:
            raise InputError(
                f"{folder!r} in {files.path} holds drawings of two characters: get it again"
            )
        name, number = keys.pop()
        yield Character(number, name, np.stack([_drawing(member) for member in members]))


def _drawing(member: Member) -> NDArray[np.uint8]:
    picture = decode(member)
    if picture.size != (SIDE, SIDE):
        raise InputError(
            f"{member.where} is {picture.width} x {picture.height} pixels, and Omniglot's "
            f"drawings are {SIDE} x {SIDE}: replace it"
        )
    if picture.mode != "1":  # stored again with more bits: black and white all the same
        return shrink(np.asarray(picture.convert("L")) > 127)
    return shrink(np.asarray(picture))


def shrink(drawings: NDArray) -> NDArray[np.uint8]:
    """Resize (..., 105, 105) to (..., 28, 28) exactly as Pillow's NEAREST does."""
    return drawings[..., NEAREST[:, None], NEAREST].astype(np.uint8)


def _numbers_and_names(path: Path, part: str, first: int) -> dict[int, tuple[int, str]] | int:
    """Official number and name by row of the npz from ``classes.csv``, or the first number."""
    table = path / "classes.csv"
    if not table.exists():
        return first
    rows = read_table(
        file_member(table), ["official_id", "split", "npz_row", "alphabet", "character"]
    )
    try:
        return {
            int(row["npz_row"]): (int(row["official_id"]), f"{row['alphabet']}/{row['character']}")
            for row in rows
            if row["split"] == part
        }
    except ValueError as error:
        raise InputError(
            f"{table} has an official_id or npz_row that is no integer ({error}): get it again"
        ) from error


def _from_arrays(path: Path, known: dict[int, tuple[int, str]] | int) -> Iterator[Character]:
    for row, drawings in enumerate(_read_npz(path)):
        if isinstance(known, int):
            yield Character(known + row, f"character{known + row:04d}", drawings)
        elif row in known:
            yield Character(*known[row], drawings)
        else:
            raise InputError(
                f"classes.csv beside {path} does not name its row {row}: complete or remove it"
            )


def _read_npz(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The drawings of one character after the other, so that little memory is needed."""
    where = f"'images' in {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            try:
                info = archive.getinfo("images.npy")
            except KeyError as error:
                raise InputError(f"{path} has no array 'images': check the file") from error
            with open_entry(archive, info, where) as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise InputError(f"{where} is stored in an unknown form: use np.savez")
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
                if dtype.kind != "b" or len(shape) != 4 or shape[2:] != (SIDE, SIDE) or fortran:
                    raise InputError(
                        f"{where} is {dtype} of shape {shape}, and must be bool of shape "
                        f"(classes, drawings, {SIDE}, {SIDE}) in C order: check the file"
                    )
                count = shape[1] * SIDE * SIDE
                if min(shape) < 1 or shape[0] * count > info.file_size:
                    raise InputError(f"{where} is empty or cut short: get the file again")
                for _ in range(shape[0]):
                    block = np.frombuffer(stream.read(count), np.uint8)
                    yield shrink(block.reshape(shape[1:]) != 0)
    except InputError:
        raise
    except (*BROKEN_ZIP, SyntaxError, tokenize.TokenError) as error:  # the latter: npy headers
        raise InputError(f"{path} is no npz file or is damaged: get it again") from error
