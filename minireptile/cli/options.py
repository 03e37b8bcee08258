"""From the options given to the settings of a run."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..backend import gpu_expected, why_not
from ..errors import InputError
from ..runs.presets import PRESETS, unless_given
from ..runs.settings import Settings
from ..runs.sources import SOURCES

DOWNLOADS = [name for name, source in SOURCES.items() if source.download]


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings from a preset or the data set's defaults, overridden by the options given."""
    given = {f.name: options[f.name] for f in fields(Settings) if f.name in options}
    dataset, preset = given["dataset"], options.get("preset")
    if preset and PRESETS[preset]["dataset"] != dataset:
        raise InputError(
            f"the preset {preset} is for {PRESETS[preset]['dataset']}, not for {dataset}"
        )
    values = unless_given(preset, given)
    if given.get("data"):
        given["data"] = str(Path(given["data"]).resolve())  # a run can be resumed from anywhere
    settings = Settings(**{**values, **given})
    if given.get("backend", "auto") == "auto":
        _say_what_is_missing(settings)
    if settings.tf32 and settings.backend != "cupy":
        raise InputError(f"--tf32 is for --backend cupy, not for {settings.backend}: leave it out")
    return settings


def _say_what_is_missing(settings: Settings) -> None:
    """Why a backend was not chosen that is faster, and that one would expect."""
    chosen, reason = settings.backend, ""
    if chosen == "numpy":
        reason = f"several times slower: {why_not('numba')}"
    elif chosen == "numba" and SOURCES[settings.dataset].gpu and gpu_expected():
        reason = f"on the CPU: {why_not('cupy')}"
    if reason:
        print(f"minireptile: using the {chosen} backend, {reason}", file=sys.stderr)


def download(dataset: str) -> None:
    """Fetch the data, once; `InputError` where that cannot be done."""
    fetch = SOURCES[dataset].download
    if fetch is None:
        raise InputError(f"--download is for {', '.join(DOWNLOADS)}, not for {dataset}")
    fetch()
