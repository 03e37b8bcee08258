"""The folder of a run for which none was named: after all that is other than by default.

Two commands with other settings have other folders, and one command has the same one each time.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from string import Formatter
from typing import Any

from .measures import MEASURES
from .presets import unless_given
from .settings import Settings
from .sources import SOURCES

LONGEST = 100  # characters of a name; a file system takes 255 bytes


def folder_of(settings: Settings, options: Mapping[str, Any]) -> Path:
    """The folder of a run, such as runs/glyphs-5way-1shot-reptile-inner_lr0.002-seed0. The options
    are what the settings were made of: the preset, if there was one, and whether a backend was
    given."""
    begins = MEASURES[SOURCES[settings.dataset].kind].folder
    name = begins.format(**asdict(settings))
    said = {field for _, field, *_ in Formatter().parse(begins)} | {"seed"}
    preset = options.get("preset")
    if options.get("backend", "auto") == "auto":
        said.add("backend")  # whichever is the fastest here
    usual = {f.name: f.default for f in fields(Settings)} | unless_given(preset, asdict(settings))
    parts = [
        _part(f.name, getattr(settings, f.name)) for f in fields(settings)
        if f.name not in said and getattr(settings, f.name) != usual[f.name]
    ]  # fmt: skip
    if preset:
        parts.insert(0, "preset" if name.startswith(preset) else preset)
    seed = f"seed{settings.seed}"
    return Path("runs", "-".join([name, *_within(parts, LONGEST - len(name + seed) - 2), seed]))


def name_in_sweep(values: Mapping[str, Any], seed: int) -> str:
    """The folder of a run in a sweep, after what varies: inner-lr-0.001-way-20-seed-2."""
    parts = []
    for name, value in values.items():
        text = ("yes" if value else "no") if type(value) is bool else str(value)
        parts.append(f"{name.replace('_', '-')}-{re.sub(r'[^A-Za-z0-9_.+-]+', '_', text)}")
    return "-".join([*_within(parts, LONGEST - 20), f"seed-{seed}"])


def _part(name: str, value: Any) -> str:
    """A setting in the name of a folder: inner_lr0.002, replacement, no_rotations, state_carry."""
    if type(value) is bool:
        return name if value else f"no_{name}"
    if type(value) is not str:
        return f"{name}{value!r}"
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", Path(value).name)[:20]
    if plain != value:
        plain = f"{plain}_{_digest(value)}"
    return plain if name == "data" else f"{name}_{plain}"


def _within(parts: list[str], room: int) -> list[str]:
    """The parts, as many as there is room for, and a number that stands for the others."""
    if len("-".join(parts)) <= room:
        return parts
    kept: list[str] = []
    rest = list(parts)
    while len("-".join([*kept, rest[0]])) + 10 <= room:
        kept.append(rest.pop(0))
    return [*kept, _digest("-".join(rest))]


def _digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:8]
