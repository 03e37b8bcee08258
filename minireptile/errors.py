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


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `MissingPackage` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"this needs the package {module.partition('.')[0]!r}, which is not installed; "
            f'bring it with: pip install "minireptile[{extra}]"'
        ) from error
