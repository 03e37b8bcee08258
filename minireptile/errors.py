"""The two errors that a user can cause, each one clear sentence.

The command line prints the sentence and exits with code 2; library users get an ordinary
``ValueError`` or ``ImportError``.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """Something from outside (a file, an argument, data) is wrong: says what, and what to do."""


class MissingPackage(ImportError):
    """An optional package is not installed: says which ``pip install`` line brings it."""


# Where a package is not called as its module is.
DISTRIBUTIONS = {"PIL": "pillow", "rich_click": "rich-click", "cupy": "cupy-cuda13x[ctk]"}


def pip(*packages: str) -> str:
    """The line that installs packages from where they lie: an index has no minireptile, and so
    none of its extras."""
    return "pip install " + " ".join(f'"{p}"' if "[" in p else p for p in packages)


def require(module: str, extra: str | None) -> ModuleType:
    """Import `module`, or raise `MissingPackage` naming the package and the extra it is of."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        line = pip(DISTRIBUTIONS.get(package, package))
        rest = f', or, in the repository, with all that go with it: pip install -e ".[{extra}]"'
        raise MissingPackage(
            f"this needs the package {package!r}, which is not installed; bring it with: {line}"
            + (rest if extra else "")
        ) from error
