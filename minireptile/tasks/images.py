"""N-way, K-shot classification tasks over any collection of images grouped by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import array, shown, whole
from ..errors import InputError
from ..rng import Stream, drawing, generator
from .base import Task, minibatches


@dataclass(frozen=True)
class ImageClasses:
    """Images grouped by class, kept as bytes.

    Parameters
    ----------
    images : array (N, H, W, C), uint8
        All images, class after class.
    starts : array (n_classes + 1,), int64
        Class c owns ``images[starts[c]:starts[c + 1]]``.
    names : tuple of str
        One name a class.
    scale : float
        Times a byte it is the network's input: 1 for Omniglot's {0, 1}, 1/255 for photographs.
    """

    images: NDArray[np.uint8]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    scale: float

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        few, many = (f"{n:,}" for n in (self.counts.min(), self.counts.max()))
        each = many if few == many else f"{few} to {many}"
        pixels = " x ".join(map(str, self.images.shape[1:]))
        classes = "1 class" if len(self) == 1 else f"{len(self):,} classes"
        return f"ImageClasses({classes} of {each} images, {pixels})"

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images in each class, (n_classes,)."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Splits:
    """A data set, split by class.

    Parameters
    ----------
    train : ImageClasses
        To learn from.
    test : ImageClasses
        To measure on.
    val : ImageClasses, optional
        To choose settings by.
    note : str
        What qualifies every figure taken on it.
    """

    train: ImageClasses
    test: ImageClasses
    val: ImageClasses | None = None
    note: str = ""


def image_classes(data: ImageClasses, what: str) -> ImageClasses:
    """`data` itself; `InputError` if it is anything else."""
    if not isinstance(data, ImageClasses):
        raise InputError(
            f"{what} must be image classes, as from_arrays(images, labels) makes them, "
            f"not {shown(data)}"
        )
    return data


def from_arrays(
    images: NDArray, labels: Sequence[int] | NDArray, names: Sequence[str] | None = None
) -> ImageClasses:
    """Group one's own arrays by class.

    Parameters
    ----------
    images : array (N, H, W) or (N, H, W, C)
        Bytes, 0 to 255, booleans, or floats between 0 and 1.
    labels : array (N,) of int
        Any integers; classes are ordered by label.
    names : sequence of str, optional
        One name for each distinct label, in the order of the labels.

    Returns
    -------
    ImageClasses
        For `FewShot`. A network gets booleans as 0 and 1, all else between 0 and 1.

    Raises
    ------
    InputError
        If shapes disagree, or values are NaN or outside the range.

    Examples
    --------
    >>> import numpy as np, minireptile as mr
    >>> images, labels = np.zeros((6, 28, 28), np.uint8), [0, 0, 0, 1, 1, 1]
    >>> data = mr.from_arrays(images, labels, names=["cat", "dog"])
    >>> data
    ImageClasses(2 classes of 3 images, 28 x 28 x 1)
    >>> mr.FewShot(data, way=2).draw(np.random.default_rng(0), shot=2, query=1)
    Task(support (4, 28, 28, 1) -> (4,), query (2, 28, 28, 1) -> (2,))
    """
    images, labels = array(images, "images"), array(labels, "labels")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.size == 0:
        raise InputError(f"images must have shape (N, H, W) or (N, H, W, C), not {images.shape}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels must be {len(images)} integers, one for each image, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    scale = 1.0 / 255
    if images.dtype == bool:
        pixels, scale = images.astype(np.uint8), 1.0
    elif images.dtype == np.uint8:
        pixels = images
    elif images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise InputError("images hold NaN or infinity: clean the data first")
        if images.min() < 0 or images.max() > 1:
            raise InputError(
                f"float images must lie between 0 and 1, and these go from {images.min():g} "
                f"to {images.max():g}: scale them first"
            )
        pixels = np.rint(images * 255).astype(np.uint8)
    else:
        raise InputError(f"images must be uint8, bool or float, not {images.dtype}")
    order = np.argsort(labels, kind="stable")
    values, counts = np.unique(labels, return_counts=True)
    if names is None:
        names = [str(value) for value in values]
    if isinstance(names, str) or (not isinstance(names, Sequence) and np.ndim(names) != 1):
        raise InputError(f"names must be a list with a name for each class, not {shown(names)}")
    if len(names) != len(values):
        raise InputError(f"{len(names)} names for {len(values)} classes: give one for each")
    return ImageClasses(
        np.ascontiguousarray(pixels[order]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tuple(map(str, names)),
        scale,
    )


def take_classes(data: ImageClasses, classes: Sequence[int] | NDArray) -> ImageClasses:
    """The given classes of `data`, in the given order."""
    data = image_classes(data, "take_classes: data")
    chosen = array(classes, "take_classes: classes")
    if chosen.size == 0:
        raise InputError("no classes are left to take: a split must have some")
    fit = chosen.ndim == 1 and chosen.dtype.kind in "iu"
    if not fit or chosen.min() < 0 or chosen.max() >= len(data):
        raise InputError(
            f"take_classes: classes must be a list of whole numbers from 0 to {len(data) - 1}, "
            f"not {shown(classes)}"
        )
    runs = [np.arange(data.starts[c], data.starts[c + 1]) for c in chosen]
    return ImageClasses(
        data.images[np.concatenate(runs)],
        np.cumsum([0] + [len(run) for run in runs], dtype=np.int64),
        tuple(data.names[c] for c in chosen),
        data.scale,
    )


def with_rotations(data: ImageClasses) -> ImageClasses:
    """Add each class turned by 90, 180 and 270 degrees as three new classes.

    Square images only. Source: Santoro et al., 2016; supervised_reptile/omniglot.py:51-63.
    """
    if data.images.shape[1] != data.images.shape[2]:
        raise InputError(
            f"images of {data.images.shape[1:3]} pixels cannot be turned by 90 degrees: "
            "make them square or leave the rotations out"
        )
    turned = [np.rot90(data.images, turns, axes=(1, 2)) for turns in range(4)]
    offsets = [data.starts[:-1] + turns * len(data.images) for turns in range(4)]
    return ImageClasses(
        np.concatenate(turned),
        np.concatenate([*offsets, [4 * len(data.images)]]).astype(np.int64),
        tuple(f"{name}/rot{90 * turns:03d}" for turns in range(4) for name in data.names),
        data.scale,
    )


class FewShot:
    """N-way classification tasks: each picks `way` classes and numbers them 0 to way - 1.

    Parameters
    ----------
    data : ImageClasses
        As `from_arrays` makes it.
    way : int
        Classes of a task, at least 2.

    Attributes
    ----------
    input_shape : tuple of int
        Rows, columns and channels of an image.
    n_out : int
        Outputs that a model needs: way.

    Raises
    ------
    InputError
        If the data have fewer classes.
    """

    def __init__(self, data: ImageClasses, way: int) -> None:
        data, way = image_classes(data, "FewShot: data"), whole(way, "FewShot: way", 2)
        if len(data) < way:
            raise InputError(
                f"{way}-way tasks need {way} classes, and this split has {len(data)}: "
                "lower --way or add classes"
            )
        self.data = data
        self.n_out = way
        self.input_shape = data.images.shape[1:]

    def __repr__(self) -> str:
        return f"FewShot({self.data!r}, way={self.n_out})"

    def check_shots(self, images_per_class: int) -> None:
        """Make sure that every class has as many images as a task takes from it.

        Parameters
        ----------
        images_per_class : int
            Support and query.

        Raises
        ------
        InputError
            If a class has fewer: names it.
        """
        poorest = int(np.argmin(self.data.counts))
        if self.data.counts[poorest] < images_per_class:
            raise InputError(
                f"class {self.data.names[poorest]!r} has {self.data.counts[poorest]} images, and "
                f"the shots asked for take {images_per_class} from each class: "
                "lower the shots or remove the class"
            )

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        """Draw a task.

        Parameters
        ----------
        rng : numpy.random.Generator
            What decides; `rng.generator` makes those of training and evaluation.
        shot : int
            Support images of each class.
        query : int
            Query images of each class, others than the support's.

        Returns
        -------
        Task
            With x (way shot, H, W, C) of float32, y (way shot,) of int64, class after class.

        Raises
        ------
        InputError
            If a class drawn has fewer images.
        """
        rng, shot = drawing(rng, "FewShot.draw"), whole(shot, "FewShot.draw: shot", 0)
        picks = self.pick(rng, shot + whole(query, "FewShot.draw: query", 0))
        labels = np.repeat(np.arange(self.n_out)[:, None], shot + query, axis=1)

        def gather(columns: slice) -> tuple[NDArray, NDArray]:
            pixels = self.data.images[picks[:, columns].ravel()]
            x = np.multiply(pixels, self.data.scale, dtype=np.float32)
            return x, labels[:, columns].ravel()

        support, held_out = gather(slice(shot)), gather(slice(shot, None))
        return Task(*support, *held_out)

    def pick(self, rng: np.random.Generator, images: int) -> NDArray[np.int64]:
        """Pick the images of a task.

        Parameters
        ----------
        rng : numpy.random.Generator
            What decides.
        images : int
            How many of each class.

        Returns
        -------
        array (way, images), int64
            Rows of ``data.images``.

        Raises
        ------
        InputError
            If a class drawn has fewer images.
        """
        data, way = self.data, self.n_out
        classes = rng.choice(len(data), way, replace=False)
        picks = np.empty((way, images), np.int64)
        for row, c in zip(picks, classes, strict=True):
            count = data.starts[c + 1] - data.starts[c]
            if count < images:
                self.check_shots(images)
            row[:] = data.starts[c] + rng.choice(count, images, replace=False)
        return picks


def sample_indices(
    tasks: FewShot, seed: int, iteration: int, *,
    meta_batch: int, steps: int, batch: int, shot: int, replacement: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:  # fmt: skip
    """What `base.sample` draws, as numbers of images (steps, meta_batch, batch), for those who have
    the images already; and the labels."""
    indices = np.empty((steps, meta_batch, batch), np.int32)
    labels = np.empty((steps, meta_batch, batch), np.int64)
    for t in range(meta_batch):
        rng = generator(seed, Stream.TRAIN, iteration, t)
        picks = tasks.pick(rng, shot).ravel()
        order = minibatches(rng, len(picks), steps, batch, replacement)
        indices[:, t], labels[:, t] = picks[order], order // shot
    return indices, labels
