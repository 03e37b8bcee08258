"""A trained model on a person's own images: folders of examples, and images to classify.

SUPPORT/CLASS/*.png    examples of each class; a class is named after its folder
QUERY/*.png            images to classify; or QUERY/CLASS/*.png, and then the accuracy is told

Images are read as those of one's own training folder are (tasks/files/folder.py): any size, any of
its formats, resized to what the network takes. For networks trained on characters, they are first
brought to what these know: dark ink on light paper, in the middle and of the usual size. Weights
trained on drawn characters then do better on Omniglot too, as 105 x 105 pixels: 91.5 % in place of
86.8 % of 600 queries.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require
from ..tasks.files.archive import Member, file_member, open_files
from ..tasks.files.decode import SUFFIXES, decode, images_in
from ..tasks.files.folder import to_mode
from ..tasks.paper import frame, ink_of
from ..trained import Trained

LISTED = 3  # names in a sentence
SHOWN = 3  # classes of each query in the table
STRETCH = 1.25  # of proportions, that is worth a note


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a model says of images, once it has adapted to others."""

    classes: tuple[str, ...]
    files: tuple[str, ...]  # names of the query images, m of them
    probabilities: NDArray  # (m, n_classes)
    # The classes of the queries if they lie in folders named after them; empty if not.
    truth: tuple[str, ...]
    loss: tuple[float, ...]  # before each step, of its mini-batch
    support: int  # examples adapted to
    transductive: bool
    # What a person should know of these images: left out, inverted, of other proportions.
    notes: tuple[str, ...]

    @property
    def predictions(self) -> tuple[str, ...]:
        """The most probable class of each query."""
        return tuple(self.classes[c] for c in self.probabilities.argmax(1))

    @property
    def accuracy(self) -> float | None:
        """The fraction that is right, in [0, 1]; None if the truth is not known."""
        if not self.truth:
            return None
        return float(np.mean([p == t for p, t in zip(self.predictions, self.truth, strict=True)]))


class Picture(NamedTuple):
    """An image as the network takes it."""

    name: str
    folder: str  # "" if it lies directly in the folder that was named
    pixels: NDArray  # (H, W, C), between 0 and 1
    proportions: float  # of what was resized: width / height
    inverted: bool


def predict(
    trained: Trained, support: Path, query: Path, *,
    transductive: bool = False, skip_unreadable: bool = False,
) -> Predicted:  # fmt: skip
    """Adapt to a folder of examples, and classify images.

    `support` is a folder, or a zip of it, with a folder of images for each class; one image will
    do. `query` is one with images, or with folders of images named after classes; or one image.
    Queries are classified each on its own beside the support set or, `transductive`, as one batch.
    Images that cannot be read are left out only if `skip_unreadable`, and told.

    `InputError` if the model tells no classes of images apart; if a folder holds no images, one
    class alone or an image that cannot be read; or if a folder of queries is named after no
    class.
    """
    shape = trained.model.input_shape
    if not trained.classifies or len(shape) != 3 or shape[-1] not in (1, 3):
        what = f"on {trained.card['dataset']}" if "dataset" in trained.card else f"for {shape}"
        raise InputError(
            f"predict tells classes of images apart, and this model was trained {what}: "
            "use a run on glyphs, omniglot, miniimagenet or a folder of images"
        )
    examples, notes = _read(trained, support, skip_unreadable)
    if not (labelled := [p for p in examples if p.folder]):
        raise InputError(
            f"{support} holds images, but no folder of images for each class: "
            "put the examples of each class into a folder with its name"
        )
    if loose := len(examples) - len(labelled):
        notes.append(f"{support}: images outside class folders left out: {loose}")
    classes = sorted({p.folder for p in labelled})
    if len(classes) < 2:
        raise InputError(
            f"{support} holds one class alone, {classes[0]!r}: make a folder for another"
        )
    queries, more = _read(trained, query, skip_unreadable)
    truth = _truth(queries, query, classes, support)
    notes += [*more, *_proportions(labelled, queries)]
    adapted = trained.adapt(np.stack([p.pixels for p in labelled]), [p.folder for p in labelled])
    probabilities = adapted.probabilities(np.stack([p.pixels for p in queries]), transductive)
    return Predicted(
        tuple(classes), tuple(p.name for p in queries), probabilities, truth,
        tuple(map(float, adapted.loss)), len(labelled), transductive, tuple(notes),
    )  # fmt: skip


def _truth(
    queries: Sequence[Picture], query: Path, classes: Sequence[str], support: Path
) -> tuple[str, ...]:
    """The queries' classes, if they lie in folders; `InputError` if these are no classes."""
    folders = {p.folder for p in queries}
    if folders == {""}:
        return ()
    if unknown := sorted(folders - {*classes, ""}):
        raise InputError(
            f"{query} and {support} disagree: there are no examples of {_some(unknown)} to adapt "
            f"to, only of {_some(classes)}"
        )
    if "" in folders:
        name = next(p.name for p in queries if not p.folder)
        raise InputError(
            f"{query} holds both folders of classes and images outside of them, such as {name}: "
            "put all into folders, or none"
        )
    return tuple(p.folder for p in queries)


def _read(trained: Trained, path: Path, skip: bool) -> tuple[list[Picture], list[str]]:
    """The images of a folder, a zip or a file, and what is worth telling of them."""
    shape, ink = trained.model.input_shape, bool(trained.card.get("ink"))
    pictures: list[Picture] = []
    unreadable: list[Member] = []
    with _images(path) as members:
        for member in members:
            try:
                pictures.append(_picture(member, shape, ink))
            except InputError:
                unreadable.append(member)
    notes = []
    if unreadable:
        what = f"{len(unreadable)} of {len(members)} images of {path} cannot be read or are blank"
        which = _some([member.name for member in unreadable])
        if not skip:
            raise InputError(
                f"{what}, {which}: mend or remove them, or leave them out with --skip-unreadable"
            )
        lost = {_folder(member) for member in unreadable} - {p.folder for p in pictures}
        if lost:
            raise InputError(f"{what}, and none is left in {_some(sorted(lost))}: mend them")
        notes.append(f"{what} and were left out: {which}")
    if turned := [p.name for p in pictures if p.inverted]:
        some = "" if len(turned) == len(pictures) else f": {_some(turned)}"
        notes.append(
            f"{len(turned)} of {len(pictures)} images of {path} are light on dark and were "
            f"inverted{some}"
        )
    return pictures, notes


@contextmanager
def _images(path: Path) -> Iterator[list[Member]]:
    """The image files of a folder or a zip, or the one that is named."""
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        yield [file_member(path)]
        return
    with open_files(path) as files:
        yield images_in(files)


def _folder(member: Member) -> str:
    return "/".join(member.parts[:-1])


def _picture(member: Member, shape: tuple[int, ...], ink: bool) -> Picture:
    """Decode an image; `InputError` if that cannot be done, or if a character is blank."""
    rows, columns, channels = shape
    picture = to_mode(decode(member), "L" if channels == 1 else "RGB")
    inverted, proportions = False, picture.width / picture.height
    if ink:
        amount, inverted = ink_of(np.asarray(picture) / 255, member.where)
        levels = np.rint(255 * amount).astype(np.uint8)
        picture = require("PIL.Image", "cli").fromarray(levels)
        if picture.size != (columns, rows):  # Pillow makes zeros beyond the edge: paper
            picture, proportions = picture.crop(frame(levels / 255)), 1.0
    if picture.size != (columns, rows):
        picture = picture.resize((columns, rows))
    pixels = np.asarray(picture).reshape(shape) / np.float32(255)
    if ink:  # thin lines fade where they are made smaller
        pixels = 1 - pixels / pixels.max()
    return Picture(member.name, _folder(member), pixels, proportions, inverted)


def _proportions(support: Sequence[Picture], query: Sequence[Picture]) -> list[str]:
    """A note if images of the two differ in their proportions, which resizing changes."""
    one, other = (
        float(np.median([p.proportions for p in pictures])) for pictures in (support, query)
    )
    if max(one / other, other / one) < STRETCH:
        return []
    return [
        f"queries are {other:.2f} times as wide as high and examples {one:.2f} times, and all are "
        "resized to one shape: crop them alike"
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more


# ------------------------------------------------------------------------------------------ texts


def as_table(found: Predicted) -> str:
    """For a person to read: the loss of each step, and each query's most probable classes."""
    queries = len(found.files)
    lines = [
        f"{len(found.classes)} classes, {found.support} examples, {queries} queries"
        + (", classified together (transductive)" if found.transductive else ""),
        "",
        "loss before each step:",
    ]
    numbers = [f"{loss:7.3f}" for loss in found.loss]
    lines += ["".join(numbers[i : i + 10]) for i in range(0, len(numbers), 10)]
    rows = [_row(found, i) for i in range(queries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", "query, and its classes by probability:"]
    lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if found.accuracy is not None:
        right = round(found.accuracy * queries)
        lines += ["", f"accuracy {100 * found.accuracy:.1f} %: {right} of {queries} right"]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _row(found: Predicted, i: int) -> list[str]:
    best = np.argsort(-found.probabilities[i], kind="stable")[:SHOWN]
    cells = [f"{found.classes[c]} {100 * found.probabilities[i, c]:.1f} %" for c in best]
    right = "right" if found.truth and found.truth[i] == found.classes[best[0]] else "wrong"
    return [found.files[i], *([right] if found.truth else []), *cells]


def as_json(found: Predicted) -> str:
    """One JSON object with everything."""
    queries = []
    for i, file in enumerate(found.files):
        query = {"file": file, "predicted": found.predictions[i]}
        query |= {"true": found.truth[i]} if found.truth else {}
        odds = dict(zip(found.classes, map(float, found.probabilities[i]), strict=True))
        queries.append({**query, "probabilities": odds})
    names = "classes", "support", "transductive", "loss"
    told = {name: getattr(found, name) for name in names}
    told |= {"queries": queries, "accuracy": found.accuracy, "notes": found.notes}
    return json.dumps(told)


def as_csv(found: Predicted) -> str:
    """A line for each query, with a column for each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "predicted", *(["true"] if found.truth else []), *found.classes])
    for i, file in enumerate(found.files):
        truth = [found.truth[i]] if found.truth else []
        odds = (f"{p:.6f}" for p in found.probabilities[i])
        writer.writerow([file, found.predictions[i], *truth, *odds])
    return text.getvalue()
