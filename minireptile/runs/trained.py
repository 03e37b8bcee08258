"""Trained models, from a run or a file; and those that ship with the package, with their cards."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ..checks import shown
from ..errors import InputError
from ..files import read_tensors, write_atomically
from ..trained import Trained
from ..weights import FORMAT, LAYOUTS, export, read_trained
from . import checkpoint, metrics
from .experiment import build_model, build_optimizer
from .folder import CHECKPOINT, METRICS
from .measures import MEASURES
from .presets import PRESETS, defaults
from .settings import Settings, named_after
from .sources import SOURCES

SHIPPED = Path(__file__).parents[1] / "pretrained"
# What a run's command need not say: where it ran, how often it looked, and what goes with a name.
UNSAID = ("dataset", "backend", "data", "eval_every", "eval_tasks", "checkpoint_every")


def load(path: str | Path, backend: str = "numpy") -> Trained:
    """A trained model.

    Parameters
    ----------
    path : path
        The folder of a run, or a file: its checkpoint, or what `export` wrote.
    backend : str
        Who computes. One task is so little work that "numpy" is done before the others are
        compiled.

    Returns
    -------
    Trained
        Adapts to a support set.

    Raises
    ------
    InputError
        If there is no such file, or it holds something else.
    """
    path = Path(path)
    file = path / CHECKPOINT if path.is_dir() else path
    if file.is_file():
        tensors, metadata = read_tensors(file, "safetensors file", f"there is no file {file}")
        if metadata.get("format") == FORMAT:
            return read_trained(file, tensors, metadata, backend)
        marks = {known.mark: name for name, known in LAYOUTS.items() if known.mark}
        if layout := marks.get(metadata.get("format", "")):
            raise InputError(
                f"{file} holds parameters alone, in the layout of {layout}: read them with "
                f"import_weights(path, model, {layout!r})"
            )
    run, settings = checkpoint.load(file)
    s = replace(settings, backend=backend)
    shape = SOURCES[s.dataset].shape
    model, optimizer = build_model(s, shape(**named_after(shape, s))), build_optimizer(s)
    adapts = s.eval_steps, s.eval_batch, s.replacement
    try:
        return Trained(model, run.theta, run.state, optimizer, *adapts, card=card(file, run, s))
    except InputError as error:
        raise InputError(
            f"{file} is of another network than its settings name ({error}): restore it from a copy"
        ) from None


def card(file: Path, run: Any, s: Settings) -> dict[str, Any]:
    """What is known of a run: where it comes from, and what its own test found."""
    source = SOURCES[s.dataset]
    found: dict[str, Any] = {
        "dataset": s.dataset, "network": s.network, "algorithm": s.algorithm,
        "iteration": run.iteration, "seed": s.seed, "command": command(s),
    }  # fmt: skip
    if source.kind == "classification":
        found |= {"way": s.way, "shot": s.shot, "range": [0, 1], "ink": source.ink}
    records = metrics.read(file.parent / METRICS, MEASURES[source.kind].values)
    tests = [r["test"] for r in records if "test" in r and r["iteration"] == run.iteration > 0]
    return found | ({"test": tests[-1]} if tests else {})


def command(s: Settings) -> str:
    """The command that makes such a run: what differs from the nearest preset, or from none."""
    bases = {"": defaults(s.dataset, s.way, s.shot, s.algorithm)}
    bases |= {name: values for name, values in PRESETS.items() if values["dataset"] == s.dataset}
    usual = {"way": s.way, "shot": s.shot, "algorithm": s.algorithm}
    own = {n: v for n, v in asdict(s).items() if n not in UNSAID}
    commands: list[str] = []
    for name, values in bases.items():
        base = asdict(Settings(**{**values, "backend": "numpy"}))
        words = ["minireptile train", s.dataset, *([f"--preset {name}"] if name else [])]
        words += ["--data DIR"] if s.data else []
        said = {} if name else {n: v for n, v in usual.items() if v != getattr(Settings, n)}
        changed = said | {n: v for n, v in own.items() if v != base[n]}
        commands.append(" ".join(words + [_option(n, v) for n, v in changed.items()]))
    return min(commands, key=lambda command: command.count(" --"))


def _option(name: str, value: Any) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {value}"


# -------------------------------------------------------------------------------- with the package


def names() -> list[str]:
    """The trained models that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def pretrained(name: str, backend: str = "numpy") -> Trained:
    """A trained model that ships with the package.

    Parameters
    ----------
    name : str
        "glyphs", trained on drawn characters, or "omniglot".
    backend : str
        As in `load`.

    Returns
    -------
    Trained
        Adapts to a support set.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in names():
        raise InputError(
            f"no trained model {shown(name)} ships with the package: choose one of "
            f"{', '.join(names())}, or load(RUN) one of your own"
        )
    return load(SHIPPED / f"{name}.safetensors", backend)


def ship(run: str | Path, name: str, folder: Path = SHIPPED, note: str = "") -> Path:
    """Put a run's weights into a folder, in float16, with a card: NAME.safetensors and its page.
    The note, such as what rounding costs, stands on the card."""
    trained = load(run)
    trained = replace(trained, card={**trained.card, "note": note})
    text = card_text(name, trained)
    path = folder / f"{name}.safetensors"
    export(trained, path, half=True)
    write_atomically(path.with_suffix(".md"), text.encode())
    return path


def card_text(name: str, trained: Trained) -> str:
    """A model's card, in Markdown."""
    known, model = trained.card, trained.model
    if not {"dataset", "way", "test"} <= known.keys():
        raise InputError(f"{name} has no test on unseen classes to tell of: train it to its end")
    test = known["test"]
    figures = "\n".join(
        f"| {label} | {mean:.2f} {'' if half is None else f'± {half:.2f}'} |"
        for label, (mean, half) in MEASURES["classification"].values(test).items()
    )
    ink = "\nImages are 0 where there is ink and 1 where there is paper." * known["ink"]
    note = f" {known['note']}" if known.get("note") else ""
    return f"""\
# {name}

What it is: an initialisation for few-shot classification, to adapt and not to use as it stands.
`{known["algorithm"]}` learned it on `{known["dataset"]}` in {known["iteration"]:,} \
iterations, from seed {known["seed"]}.
The network is the paper's for {known["network"]}: {model.size:,} parameters, \
images {model.input_shape}.{ink}

```python
adapted = minireptile.pretrained("{name}").adapt(images, labels)
adapted.probabilities(others)
```

The command that made it:

```sh
{known["command"]}
```

Its own test, on {test["tasks"]:,} tasks of classes that were not trained on, \
{known["way"]}-way {known["shot"]}-shot, after {trained.steps} steps of {trained.batch} examples \
by {_short(trained.optimizer)}, from the state of the optimizer that training left:

| | %, with its 95 % interval |
|---|---|
{figures}

The first classifies each query on its own beside the examples, as `probabilities` does; \
the second, all queries of a task as one batch.
The file holds the parameters, and the root of Adam's second moment, in float16.{note}
"""


def _short(optimizer: Any) -> str:
    """Adam(lr=0.001, beta1=0.0): what is not as usual."""
    given = {f.name: getattr(optimizer, f.name) for f in fields(optimizer)}
    usual = {f.name: f.default for f in fields(optimizer)}
    own = [f"{n}={v}" for n, v in given.items() if n == "lr" or v != usual[n]]
    return f"{type(optimizer).__name__}({', '.join(own)})"
