"""A pytest plugin for mutation runs: a counterexample kills a mutant, it need not be small."""

from __future__ import annotations

from hypothesis import Phase, settings


def pytest_configure() -> None:
    quick = settings.get_profile("quick")  # tests/conftest.py
    settings.register_profile("mutants", quick, phases=(Phase.explicit, Phase.generate))
    settings.load_profile("mutants")
