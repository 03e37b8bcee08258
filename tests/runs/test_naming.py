"""Folders of runs: named after everything that is other than by default, and readable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireptile.cli.options import settings_from
from minireptile.runs.naming import LONGEST, folder_of
from minireptile.runs.presets import PRESETS
from minireptile.runs.settings import Settings
from minireptile.runs.sources import SOURCES


def named(**options: Any) -> str:
    """The folder of a run with these options, given on the command line."""
    options = {"backend": "numpy", **options}
    folder = folder_of(settings_from(options), options)
    assert folder.parent == Path("runs")
    return folder.name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dataset": "glyphs"}, "glyphs-5way-1shot-reptile-seed0"),
        ({"dataset": "glyphs", "inner_lr": 0.002},
         "glyphs-5way-1shot-reptile-inner_lr0.002-seed0"),
        ({"dataset": "glyphs", "inner_lr": 0.001}, "glyphs-5way-1shot-reptile-seed0"),
        ({"dataset": "omniglot", "algorithm": "maml", "way": 20, "seed": 3},
         "omniglot-20way-1shot-maml-seed3"),
        ({"dataset": "omniglot", "preset": "omniglot-5way-1shot"},
         "omniglot-5way-1shot-reptile-preset-seed0"),
        ({"dataset": "omniglot", "preset": "omniglot-5way-1shot", "inner_lr": 1e-5},
         "omniglot-5way-1shot-reptile-preset-inner_lr1e-05-seed0"),
        ({"dataset": "omniglot", "preset": "omniglot-20way-1shot", "way": 7},
         "omniglot-7way-1shot-reptile-omniglot-20way-1shot-seed0"),
        ({"dataset": "sine", "shot": 4, "state": "carry"},
         "sine-reptile-shot4-state_carry-seed0"),
        ({"dataset": "glyphs", "rotations": False, "replacement": True},
         "glyphs-5way-1shot-reptile-no_rotations-replacement-seed0"),
    ],
    ids=str,
)  # fmt: skip
def test_names(options: dict[str, Any], name: str) -> None:
    automatic = {**options, "backend": "auto"}
    settings = settings_from({**options, "backend": "numpy"})  # whatever "auto" is here
    assert folder_of(settings, automatic) == Path("runs", name)
    assert named(**options) == name.replace("-seed", "-backend_numpy-seed")


def test_data_is_named_by_its_folder_and_told_from_others_of_that_name() -> None:
    names = {named(dataset="folder", data=f"/{place}/my birds") for place in "ab"}
    assert len(names) == 2
    for name in names:
        assert name.startswith("folder-5way-1shot-reptile-my_birds_")


def drawn(field: Any) -> st.SearchStrategy[Any]:
    """Values of a setting."""
    if field.metadata["choices"]:
        return st.sampled_from(field.metadata["choices"])
    kinds = {
        "bool": st.booleans(),
        "int": st.integers(2, 10**6),
        "float": st.floats(-1e9, 1e9),
        "str": st.text(st.characters(exclude_characters="\0"), max_size=300),
    }
    return kinds[field.type]


FREE = {f.name: drawn(f) for f in fields(Settings)
        if f.name not in ("dataset", "backend", "network", "tf32")}  # fmt: skip
OPTIONS = st.sampled_from(list(SOURCES)).flatmap(
    lambda dataset: st.fixed_dictionaries(
        {"dataset": st.just(dataset), "backend": st.just("numpy")},
        optional={
            **FREE,
            "preset": st.sampled_from([n for n in PRESETS if PRESETS[n]["dataset"] == dataset])
            if any(v["dataset"] == dataset for v in PRESETS.values())
            else st.none(),
        },
    )
)


@given(OPTIONS, OPTIONS, st.data())
def test_no_two_commands_share_a_folder(
    options: Mapping[str, Any], other: Mapping[str, Any], data: st.DataObject
) -> None:
    """Nor do two that differ in a single option; a name is a name on any file system."""
    name = data.draw(st.sampled_from(sorted(FREE)))
    near = {**options, name: data.draw(FREE[name])}
    for a, b in ((options, other), (options, near)):
        names = [named(**each) for each in (a, b)]
        settings = [settings_from(dict(each)) for each in (a, b)]
        if settings[0] != settings[1]:
            assert names[0] != names[1]
        elif a.get("preset") == b.get("preset"):
            assert names[0] == names[1]
        for each in names:
            assert len(each.encode()) <= LONGEST
            assert each == Path(each).name
            assert each.isprintable()
