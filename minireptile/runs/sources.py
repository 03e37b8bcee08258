"""Where tasks come from, a record each. Another source is one more, and the file that loads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..tasks.base import Tasks
from ..tasks.images import Splits
from ..tasks.sine import Sine


@dataclass(frozen=True)
class Source:
    """A source of tasks."""

    # "classification" or "regression": what its tasks are, and so how they are measured
    # (`measures.MEASURES`).
    kind: str
    # The tasks, or the image classes to make them of. It is called with the settings that its
    # parameters are named after.
    load: Callable[..., Splits | Tasks]
    networks: tuple[str, ...]  # those that its examples fit
    # Shape of one example, called as `load` is: it needs no data.
    shape: Callable[..., tuple[int, ...]]
    like: str  # the data set of the paper whose presets hold here too
    # The settings that differ from the preset's.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    download: Callable[[], object] | None = None  # fetches the data, where that can be done
    gpu: bool = True  # whether its networks are so large that a GPU gains by them
    curves: bool = False  # whether its tasks are functions of one number, which can be drawn
    # Whether its images are characters: 0 where there is ink, 1 where there is paper.
    ink: bool = False


def _glyphs(classes: int, drawers: int, seed: int, rotations: bool) -> Splits:
    from ..tasks.glyphs import glyph_splits

    return glyph_splits(train_classes=classes, drawers=drawers, seed=seed, rotations=rotations)


def _omniglot(data: str, seed: int, split: str, rotations: bool) -> Splits:
    from ..tasks.files.download import cache_folder
    from ..tasks.files.omniglot import load_omniglot

    cache = cache_folder() / "omniglot"
    if not data and not cache.is_dir():
        raise InputError(
            "omniglot needs --data DIR, or --download to fetch it once from its official address"
        )
    return load_omniglot(data or cache, seed=seed, split=split or "random", rotations=rotations)


def _download_omniglot() -> object:
    from ..tasks.files.download import download_omniglot

    return download_omniglot()


def _miniimagenet(data: str, split: str) -> Splits:
    from ..tasks.files.miniimagenet import load_miniimagenet

    return load_miniimagenet(_needed("miniimagenet", data), split=split or "folders")


def _folder(data: str, size: int, channels: int, seed: int, test_fraction: float) -> Splits:
    from ..tasks.files.folder import load_folder

    path = _needed("folder", data)
    return load_folder(path, size=size, channels=channels, test_fraction=test_fraction, seed=seed)


def _needed(dataset: str, data: str) -> str:
    if not data:
        raise InputError(f"{dataset} needs --data DIR: {LAYOUT[dataset]}")
    return data


LAYOUT = {
    "miniimagenet": "the folder with its images",
    "folder": "a folder or zip with a folder of images for each class, or with such folders in "
    "train and test; minireptile train folder --data DIR --check looks it over",
}
CHARACTER = (28, 28, 1)
IMAGES = ("omniglot", "miniimagenet")  # the networks for them
# The tasks of a meta-batch in parallel, the loss a mean, and so few iterations for a first look.
LOOK = {"state": "mean", "reduction": "mean", "iterations": 6000}
ELSEWHERE = {**LOOK, "split": ""}

SOURCES = {
    "sine": Source("regression", Sine, ("sine",), lambda: (1,), "sine", gpu=False, curves=True),
    "glyphs": Source(
        "classification", _glyphs, IMAGES, lambda: CHARACTER, "omniglot", ELSEWHERE, ink=True
    ),
    "omniglot": Source(
        "classification", _omniglot, IMAGES, lambda: CHARACTER, "omniglot", LOOK,
        download=_download_omniglot, ink=True,
    ),
    "miniimagenet": Source(
        "classification", _miniimagenet, IMAGES, lambda: (84, 84, 3), "miniimagenet", LOOK
    ),
    "folder": Source(
        "classification", _folder, IMAGES, lambda size, channels: (size, size, channels),
        "omniglot", ELSEWHERE,
    ),
}  # fmt: skip
