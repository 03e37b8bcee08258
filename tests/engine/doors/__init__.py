"""Wrong arguments for every public callable: the calls, and what must become of them.

``python -m tests.engine.doors`` makes the calls that compute on two backends.
"""

from tests import conftest  # noqa: F401  Hypothesis's profile, in a child too
