"""From the options given to the settings of a run."""

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..backend import gpu_expected, why_not
from ..errors import InputError
from ..runs import checkpoint
from ..runs.folder import CHECKPOINT
from ..runs.presets import PRESETS, unless_given
from ..runs.settings import Settings, named_after
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


# What may change of a run, beside its settings' own options of the same names.
RESUMED = ("iterations", "inner_lr", "epsilon", "epsilon_final")


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is to change of a run that was trained before: those of its settings that are given,
    where its data lies now, and which other data set it is evaluated on."""
    run, on = options["run"], options.get("on")
    changes = elsewhere(checkpoint.load(run / CHECKPOINT)[1], on) if on else {}
    if options.get("download"):
        download(on or checkpoint.load(run / CHECKPOINT)[1].dataset)
    if options.get("data"):
        changes["data"] = str(Path(options["data"]).resolve())
    names = ("backend", "shot", "test_fraction", *RESUMED)
    return changes | {n: options[n] for n in names if options.get(n) is not None}


def elsewhere(trained: Settings, dataset: str) -> dict[str, Any]:
    """What changes where a run is evaluated on another data set; `InputError` where it does not
    fit the run's network."""
    if dataset == trained.dataset:
        return {}
    shape = _shape(trained, trained.dataset)
    new: dict[str, Any] = {"split": "", "data": ""}
    if len(shape) == 3:
        new |= {"size": shape[0], "channels": shape[2]}
    there = replace(trained, **new)
    fit = [
        name for name, source in SOURCES.items()
        if trained.network in source.networks and _shape(there, name) == shape
    ]  # fmt: skip
    if dataset not in fit:
        raise InputError(
            f"{dataset} does not fit the run's network {trained.network}, trained on examples of "
            f"shape {shape}: --on may be {' or '.join(fit)}"
        )
    return {"dataset": dataset, **new}


def _shape(s: Settings, dataset: str) -> tuple[int, ...]:
    """The shape of an example of a data set."""
    shape = SOURCES[dataset].shape
    return shape(**named_after(shape, s))


def download(dataset: str) -> None:
    """Fetch the data, once; `InputError` where that cannot be done."""
    fetch = SOURCES[dataset].download
    if fetch is None:
        raise InputError(f"--download is for {', '.join(DOWNLOADS)}, not for {dataset}")
    fetch()
