"""What a mistake is: a wrong backward pass, the check that must find it, and the right one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[], object]


@dataclass(frozen=True)
class Mistake:
    """A wrong gradient or update rule that people really write.

    Parameters
    ----------
    name : str
        What was done wrong.
    shows : str
        How it shows itself, in one line.
    make : callable
        Makes the check of the wrong version, as a user would; must raise.
    points_at : str
        Regular expression that the failure's message must match: the cause, as near as it gets.
    right : callable
        The same check of the right version; must pass.
    wrong : mapping of str to callable
        Which function is wrong, by the name of the right one: {"backward": dw_transposed}.
    """

    name: str
    shows: str
    make: Check
    points_at: str
    right: Check
    wrong: Mapping[str, Callable] = field(default_factory=dict, hash=False)
