"""From the bytes of image files to arrays."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, require
from ..images import ImageClasses
from .archive import Files, Member

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Named, because Pillow would otherwise guess from the content and start any of its decoders.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")

# What Pillow's decoders raise on damaged files.
BROKEN_IMAGE = (
    OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, LookupError, TypeError,
    struct.error, zlib.error,
)  # fmt: skip


def is_image(member: Member) -> bool:
    """Whether the file's name says that it is an image."""
    return member.name.lower().endswith(SUFFIXES)


def images_in(files: Files) -> list[Member]:
    """The image files of a folder or a zip; `InputError` if there are none."""
    found = [member for member in files.members if is_image(member)]
    if not found:
        suffixes = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise InputError(f"{files.path} holds no images ({suffixes}): check the path")
    return found


def decode(member: Member) -> Image:
    """Open an image file and decode its pixels. `InputError` if the file is not an image of a known
    format, is damaged, or unpacks to far more pixels than a data set's image should have (Pillow's
    limit, about 90 million)."""
    pil = require("PIL.Image", "cli")
    content = member.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata does not matter here
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            picture: Image = pil.open(io.BytesIO(content), formats=FORMATS)
            picture.load()
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise InputError(f"{member.where} unpacks to too many pixels: remove it") from error
    except BROKEN_IMAGE as error:
        raise InputError(
            f"{member.where} is damaged or no image that can be read: replace or remove it"
        ) from error
    return picture


def read_classes(
    groups: Mapping[str, Sequence[Member]], pixels: Callable[[Member], NDArray],
    shape: tuple[int, int, int], scale: float,
) -> ImageClasses:  # fmt: skip
    """Read image files, grouped by class name, in the given order; `pixels` reads one of them into
    an array (H, W, C) of `shape`, uint8."""
    counts = [len(members) for members in groups.values()]
    images = np.empty((sum(counts), *shape), np.uint8)
    files = (member for members in groups.values() for member in members)
    for row, member in zip(images, files, strict=True):
        row[:] = pixels(member)
    return ImageClasses(images, np.cumsum([0, *counts], dtype=np.int64), tuple(groups), scale)
