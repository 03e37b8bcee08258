"""The pages as a folder that any web host serves, with the engine in the page.

Pyodide, Python for browsers, comes from its official address at a pinned version, or from a copy;
each of its files is held to the sum that it has there, and NumPy to the sum that Pyodide knows.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..runs.trained import names
from .answer import first_answers
from .article import PACKAGE, article
from .shipped import as_npz
from .values import pack

VERSION = "314.0.3"
CDN = "https://cdn.jsdelivr.net"
SUMS = {
    "pyodide.mjs": "XPxG9dy68qFvJuI2P0QYc+tCR2JgnMA9sA1qKs5NAOU=",
    "pyodide.asm.mjs": "Gpd1Qn726KuqfbiOzgUVQi0YhpFa5ckJN3ZBDIZd/Y0=",
    "pyodide.asm.wasm": "5/j6w2+L8RCFMJy8XIKbPsMFfBi/HXOwWmdBYS1jzb8=",
    "python_stdlib.zip": "REx3Df11oyCX/Ap9XBQT/TFAYB9Jw6Hy6a8DdvzRJLQ=",
    "pyodide-lock.json": "yWPSKFj2vLj0FYaiFC8DkFqzcMiOoiqGonNulfrCqPM=",
}
NUMPY = "numpy-2.4.3-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
NUMPY_SUM = "DK2cG5HwCC5PlZvA4L9YNaLvu6arOx6dH+bn5WTMqY4="
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
MARK = "pyodide.json"  # a folder with it was written here, and may be written anew
ELSEWHERE = ("_numba.py", "_cuda.py", "_cupy.py")  # kernels that no browser runs
EPOCH = (1980, 1, 1, 0, 0, 0)  # of what is in the archive: the same code gives the same bytes


def build(folder: Path, pyodide: Path | None = None) -> int:
    """Write the pages into a folder, and return its size in bytes.

    Parameters
    ----------
    folder : Path
        New, empty, or written by this function before.
    pyodide : Path, optional
        A folder with a copy of Pyodide and its NumPy, to be put in; without it, the page fetches
        them from the official address.

    Raises
    ------
    InputError
        If the folder holds something else or cannot be written, or the copy is not the one that
        is expected. What was there is then as it was.
    """
    if folder.exists() and not (folder / MARK).is_file():
        if not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder for the pages")
        if any(folder.iterdir()):
            raise InputError(
                f"{folder} holds something else than these pages: name a new or an empty folder"
            )
    content = {
        **article("worker", POLICY),
        **(_copied(pyodide) if pyodide else {}),
        "first.json": json.dumps(first_answers(), default=pack).encode(),
        "minireptile.zip": archive(),
        MARK: json.dumps(_where(pyodide is not None)).encode(),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".explore.", dir=folder.parent) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            for name, data in content.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; free some space or name another "
            "folder"
        ) from error
    return sum(map(len, content.values()))


def archive() -> bytes:
    """The package as a zip: what NumPy alone can run of it, and its trained weights as .npz."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, data in sorted(_package()):
            file.writestr(zipfile.ZipInfo(f"minireptile/{name}", EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _package() -> Iterator[tuple[str, bytes]]:
    for folder, _, found in os.walk(PACKAGE, followlinks=True):  # kernels may be a link
        for path in (Path(folder, name) for name in found):
            if path.suffix in (".py", ".npz") and not path.name.endswith(ELSEWHERE):
                yield path.relative_to(PACKAGE).as_posix(), path.read_bytes()
    for name in names():
        yield f"pretrained/{name}.npz", as_npz(name)


def _where(copied: bool) -> dict[str, object]:
    """Where the worker finds Pyodide, and the sum of each file."""
    return {
        "base": "pyodide/" if copied else f"{CDN}/npm/pyodide@{VERSION}/",
        "packages": "pyodide/" if copied else f"{CDN}/pyodide/v{VERSION}/full/",
        "files": {name: f"sha256-{value}" for name, value in SUMS.items()},
    }


def _copied(folder: Path) -> dict[str, bytes]:
    """The files of a copy of Pyodide, held to their sums."""
    found = {}
    for name, expected in {**SUMS, NUMPY: NUMPY_SUM}.items():
        try:
            data = (folder / name).read_bytes()
        except OSError:
            raise InputError(
                f"{folder} has no {name}: a copy of Pyodide {VERSION} holds "
                f"{', '.join([*SUMS, NUMPY])}"
            ) from None
        if b64encode(hashlib.sha256(data).digest()).decode() != expected:
            raise InputError(
                f"{folder / name} is not that of Pyodide {VERSION}: its sha256 is another"
            )
        found[f"pyodide/{name}"] = data
    return found
