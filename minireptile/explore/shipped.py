"""The weights that ship with the package, also where nothing reads safetensors.

A page's own Python has NumPy alone. For it, pretrained/NAME.npz holds the tensors and the texts of
NAME.safetensors, as they are.
"""

from __future__ import annotations

import io
import json
import zipfile
from functools import lru_cache

import numpy as np

from ..files import read_tensors
from ..runs.trained import SHIPPED, pretrained
from ..trained import Trained
from ..weights import read_trained

TEXTS = "metadata"  # the entry that is no tensor


def as_npz(name: str) -> bytes:
    """The content of pretrained/NAME.npz."""
    path = SHIPPED / f"{name}.safetensors"
    tensors, texts = read_tensors(path, "safetensors file", f"there is no file {path}")
    text = np.array(json.dumps(texts, sort_keys=True))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:  # as np.savez, but for the time of day in it
        for entry, array in sorted({**tensors, TEXTS: text}.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{entry}.npy"), content.getvalue())
    return packed.getvalue()


@lru_cache
def trained(name: str, backend: str = "numpy") -> Trained:
    """A trained model that ships with the package, read once.

    Parameters
    ----------
    name : str
        "glyphs" or "omniglot".
    backend : str
        Who computes.

    Returns
    -------
    Trained
    """
    path = SHIPPED / f"{name}.npz"
    if not path.is_file():
        return pretrained(name, backend)
    with np.load(path, allow_pickle=False) as file:
        tensors = dict(file)
    return read_trained(path, tensors, json.loads(str(tensors.pop(TEXTS))), backend)
