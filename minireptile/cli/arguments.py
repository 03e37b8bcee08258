"""The commands and their options. Every setting is an option of ``train``, under its own name.

By rich-click: options are made from the record of settings, which click does with plain objects
and typer with signatures of functions; panels, suggestions and completion come with it.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit

from .. import __version__
from ..backend import BACKENDS
from ..errors import InputError
from ..layers import LAYERS
from ..plan import LOSSES
from ..reproduce import EXPERIMENTS, ON_CHARACTERS
from ..runs.presets import PRESETS
from ..runs.settings import DATASETS, GROUPS, Settings
from ..runs.workers import HOW
from .completion import INSTALL, VARIABLE, answer, runs
from .options import DOWNLOADS, RESUMED
from .parts import (
    PATH,
    Argument,
    Commands,
    Option,
    Setting,
    argument,
    chosen,
    command,
    context,
    flag,
    option,
    setting,
    whole,
)  # fmt: skip
from .words import NUMBERS, OneOf, Several, listed, sentence, twice


def parse(arguments: Sequence[str] | None = None) -> Namespace | None:
    """The command and its options; None where help or the version was asked for, and is printed.
    `InputError` if there is no such command or option, or a value is none for it."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    commands = program()
    if instruction := os.environ.get(VARIABLE):  # from the script of `completion`
        answer(commands, instruction)
        return None
    if words[:1] == ["sweep"] and (option := twice(words)):
        raise InputError(f"sweep has {option} twice: its values go into one list, {option} A,B")
    try:
        with commands.make_context("minireptile", words) as ctx:
            args: Namespace = commands.invoke(ctx)
            return args
    except Exit:
        return None
    except click.UsageError as error:
        raise InputError(sentence(error)) from None


def program() -> Commands:
    """All commands."""
    commands = [
        command(
            "train", "meta-train a model", *_of_training(), panel=RUNS, options_panel_title="Run",
            about="Meta-train a model.\n\nThe defaults in brackets are those of 5-way 1-shot "
            "glyphs. Where no preset is named, another data set, way, shot or algorithm has the "
            "values of the paper's nearest preset, with parallel tasks, the mean loss and 6,000 "
            "iterations.",
            examples=[
                "minireptile train glyphs",
                "minireptile train omniglot --download --way 20 --inner-lr 0.0005",
                "minireptile train omniglot --preset omniglot-5way-1shot",
                "minireptile train folder --data DIR --way 3 --shot 5",
                "minireptile train sine --algorithm maml --optimizer sgd --out runs/maml",
                "minireptile train omniglot --meta-batch 20 --workers 4",
            ],
        ),
        command(
            "resume", "continue a run, bit for bit, or extend it", _run(), *_found_changed(),
            *_changed_settings(*RESUMED), *_of_workers(), panel=RUNS,
            about="Continue a run, bit for bit; with --iterations, extend it.\n\nThe outer step "
            "size goes linearly from --epsilon to --epsilon-final over all iterations. With more "
            "of them it is larger at the iteration that the run has reached: it jumps up there, "
            "and goes down to its end from then on. After a divergence, lower --inner-lr or "
            "--epsilon: the run goes on from its last checkpoint.",
            examples=[
                "minireptile resume RUN",
                "minireptile resume RUN --iterations 20000",
                "minireptile resume RUN --inner-lr 0.0005",
            ],
        ),
        command(
            "sweep", "seeds x settings, a run each, a table and a picture", *_of_sweep(),
            panel=RUNS, options_panel_title="Sweep",
            about="Train a run for each seed and each combination of settings, some at a time.\n\n"
            "Every option of train takes several values, separated by commas. Interrupted, or "
            "killed, the same command goes on where it was; with more seeds, or more values of "
            "what varies, it grows.",
            examples=[
                "minireptile sweep omniglot --seeds 5 --inner-lr 0.0005,0.001,0.002",
                "minireptile sweep --file sweep.toml --workers 8",
                "minireptile sweep --out FOLDER         (goes on)",
                "minireptile sweep --out FOLDER --table (how far it is)",
            ],
        ),
        command(
            "evaluate", "few-shot performance on unseen classes", _run(), *_found_changed(),
            whole("tasks", "evaluation tasks", default=1000),
            whole("seed", "of the tasks; the run's own by default"),
            whole("shot", "support examples a class; as trained for"),
            chosen("on", "evaluate on another data set", DATASETS),
            *_changed_settings("test_fraction"),
            *_of_workers(),
            flag("json", "print one JSON object"),
            panel=RUNS,
            examples=[
                "minireptile evaluate RUN --tasks 1000 --json",
                "minireptile evaluate RUN --on omniglot --download",
                "minireptile evaluate RUN --on folder --data DIR --shot 5",
            ],
        ),
        command("plot", "draw a run's pictures again", _run(), panel=RUNS),
        command(
            "predict", "classify images of your own, after a few examples",
            argument("run", "folder of the run, or what export wrote", type=PATH, required=False,
                     metavar="[RUN]"),
            option("pretrained", "weights that ship with the package, in place of a run: glyphs or "
                   "omniglot", metavar="NAME"),
            option("support", "examples: a folder of images for each class", type=PATH,
                   metavar="DIR", required=True),
            option("query", "images to classify; in folders named after classes, the accuracy is "
                   "told", type=PATH, metavar="DIR", required=True),
            flag("transductive", "all queries as one batch, not each beside the examples alone"),
            flag("skip_unreadable", "leave out images that cannot be read, and say which"),
            flag("json", "print one JSON object"), flag("csv", "print a line for each query"),
            examples=["minireptile predict --pretrained glyphs --support DIR --query DIR",
                      "minireptile predict RUN --support DIR --query DIR --csv"],
            about="Adapt to a few examples of each class, and classify other images.\n\n"
            "Any number of classes will do. Images may have any size; a network for characters "
            "sees them as dark ink on light paper.",
            panel=MODELS,
        ),
        command(
            "export", "write a run's weights, for PyTorch and JAX too", _run(),
            argument("file", "where to: NAME.safetensors", type=PATH),
            chosen("layout", "names and shapes; own keeps all that predict needs", LAYOUT_NAMES,
                   default="own"),
            flag("half", "in float16, which halves the file"),
            panel=MODELS,
        ),
        command(
            "list", "the runs in a folder, and how they did",
            argument("folder", "where the runs are: runs/ by default", type=PATH, required=False,
                     default=Path("runs"), metavar="[FOLDER]"),
            flag("json", "print a JSON array"), panel=RUNS,
        ),
        command(
            "compare", "where the settings of runs differ, and their figures",
            _run("runs", "folders of runs, two or more", nargs=-1, required=True,
                 metavar="RUN RUN..."),
            flag("json", "print one JSON object"), panel=RUNS,
        ),
        command(
            "check", "check every layer's gradients and identities",
            argument("layer", f"only this one: {listed(CHECKED)}", required=False,
                     type=OneOf(CHECKED, "layer"), metavar="[LAYER]"),
            chosen("backend", "whose kernels", BACKENDS, default="numpy"),
            panel=CLAIMS,
        ),
        command(
            "reproduce", "measure a claim about Reptile",
            argument("name", "one of the claims above, or all",
                     type=OneOf([*EXPERIMENTS, "all"], "experiment")),
            flag("quick", "small sizes, seconds to a minute each; what they cannot tell, they say"),
            option("out", "where figures and pictures go", type=PATH, metavar="FOLDER",
                   default=Path("runs/reproduce")),
            chosen("backend", "whose kernels", BACKENDS),
            option("data", "Omniglot, in place of drawn characters: for "
                   + ", ".join(ON_CHARACTERS), default="", metavar="DIR"),
            *_of_workers(),
            about="Measure a claim: figures, a picture, and whether it holds, does not hold, "
            "or the measurement is too small to tell.\n\n"
            + "\n".join(f"- {name}: {about}" for name, about in EXPERIMENTS.items()),
            panel=CLAIMS,
        ),
        command(
            "explore", "figures to take hold of, in the browser",
            whole("port", "of 127.0.0.1, to serve on; 0: a free one", default=0),
            chosen("backend", "who computes what is large; auto: Numba, once it is compiled",
                   ("auto", "numpy", "numba"), default="auto"),
            flag("no_browser", "open none: the address is printed"),
            option("static", "write the pages for a web host, with Python in the page; a new "
                   "folder", type=PATH, metavar="DIR"),
            option("pyodide", "static: a copy of Pyodide to put in; else the page fetches it",
                   type=PATH, metavar="DIR"),
            about="Draw, drag and train: an article on meta-learning whose every figure is "
            "computed by the engine, on this machine alone.\n\nWith --static, a folder of the "
            "same pages, in which Pyodide runs the engine in the reader's browser.",
            examples=["minireptile explore", "minireptile explore --static public"],
            panel=CLAIMS,
        ),
        command("info", "versions, backends and this machine", panel=MACHINE),
        command(
            "completion", "the script that completes commands in a shell",
            argument("shell", listed(tuple(INSTALL)), type=OneOf(tuple(INSTALL))),
            about="Print the script that completes commands, options and runs in a shell.",
            examples=INSTALL.values(), panel=MACHINE,
        ),
    ]  # fmt: skip
    return Commands(
        name="minireptile", commands={str(c.name): c for c in commands}, no_args_is_help=False,
        help="Reptile meta-learning without a framework.", params=[_version()],
        context_settings=context(),
    )  # fmt: skip


CHECKED = (*(layer.__name__ for layer in LAYERS), *LOSSES, "Model")
RUNS, MODELS = "Runs", "Trained models"
CLAIMS, MACHINE = "Claims and gradients", "This machine"
LAYOUT_NAMES = ("own", "torch", "jax")  # those of weights.py, which every command need not load


def _version() -> Option:
    def show(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
        if asked and not ctx.resilient_parsing:
            click.echo(f"minireptile {__version__}")
            ctx.exit()

    return flag("version", "Show the version and exit.", is_eager=True, expose_value=False,
                callback=show)  # fmt: skip


def _run(name: str = "run", help: str = "folder of the run", **more: Any) -> Argument:
    more = {"metavar": "RUN", **more}
    return argument(name, help, type=PATH, shell_complete=runs, **more)


def _found_changed() -> list[Option]:
    return [
        option("data", "where the data lies now", metavar="DATA"),
        chosen("backend", "change whose kernels compute", BACKENDS),
        flag("download", f"{', '.join(DOWNLOADS)}: fetch it once from its official address"),
    ]


def _of_workers(**more: Any) -> list[Option]:
    return [
        option("workers", f"who computes tasks: {HOW}; the bits are the same", metavar="WORKERS",
               **more),
        option("scheduler", "Dask's workers, by the file of their scheduler", type=PATH,
               metavar="FILE", **more),
    ]  # fmt: skip


def _changed_settings(*names: str) -> list[Setting]:
    helps = {"iterations": "outer iterations in all, those that are done among them"}
    return [
        setting(f, helps.get(f.name, ""), default=None, show_default=False)
        for f in fields(Settings) if f.name in names
    ]  # fmt: skip


def _of_training() -> list[click.Parameter]:
    """The settings by their groups, and what else there is to say."""
    dataset, *others = fields(Settings)
    options = [
        setting(f, panel=title) for group, title in GROUPS.items() if group != "run"
        for f in others if f.metadata["group"] == group
    ]  # fmt: skip
    return [
        argument("dataset", f"{dataset.metadata['help']}: {listed(DATASETS)}",
                 type=OneOf(DATASETS), panel=GROUPS["task"]),
        *options,
        chosen("preset", "start from the paper's values", tuple(PRESETS)),
        *(setting(f) for f in others if f.metadata["group"] == "run"),
        option("out", "folder of the run", type=PATH, metavar="RUN"),
        flag("overwrite", "replace the run in that folder"),
        *_of_workers(panel=GROUPS["machine"]),
        flag("check", "folder: look the images over, say what they are enough for, and end",
             panel=GROUPS["data"]),
        flag("download", f"{', '.join(DOWNLOADS)}: fetch it once from its official address",
             panel=GROUPS["data"]),
    ]  # fmt: skip


def _of_sweep() -> list[click.Parameter]:
    """The settings, each with one value or several, and what else there is to say."""
    dataset, *others = _of_training()
    dataset.required, dataset.metavar = False, "[DATASET]"
    not_here = {"seed", "preset", "out", "overwrite", "check", "workers", "scheduler"}
    settings = [p for p in others if p.name not in not_here]
    for p in settings:
        if isinstance(p, Setting) and not p.is_flag and p.name != "data":
            p.type = Several(p.type)
    return [
        dataset, *settings,
        option("seeds", "how many, from 0 on, or a list of them", type=Several(NUMBERS["int"]),
               metavar="N"),
        whole("workers", "runs at a time; as many as there are cores, where none is given"),
        option("file", "these options in a TOML file: seeds = 5, inner-lr = [0.001, 0.002]",
               type=PATH, metavar="FILE"),
        chosen("preset", "start from the paper's values", tuple(PRESETS)),
        option("out", "folder of the sweep", type=PATH, metavar="FOLDER"),
        flag("table", "show what is there, and train nothing"),
        flag("json", "print one JSON object in place of the table"),
    ]  # fmt: skip
