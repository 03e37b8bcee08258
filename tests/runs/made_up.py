"""Made-up measurements in the place of an experiment's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def replace(
    patch: pytest.MonkeyPatch, module: Any, name: str, answer: Callable[..., Any]
) -> list[Any]:
    """Put `answer` in the place of a module's function; returns the list of its calls to be."""
    calls: list[Any] = []

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append((*arguments, named) if named else arguments)
        return answer(*arguments, **named)

    monkey = patch.setitem if isinstance(module, dict) else patch.setattr
    monkey(module, name, called)
    return calls
