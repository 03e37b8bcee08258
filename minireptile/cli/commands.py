"""What each command does, once its options are known."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..backend import BY_SPEED, announce_compilation, fastest
from ..errors import InputError
from ..reproduce import EXPERIMENTS, ON_CHARACTERS
from ..reproduce import run as reproduce
from ..runs import compare, console, pictures, report, run
from ..runs.naming import folder_of
from ..runs.settings import Settings
from ..runs.workers import Pool, workers
from . import info
from .options import changed, download, settings_from


def _train(args: Namespace) -> None:
    with workers(args.workers, args.scheduler) as pool:
        _trained(args, pool)


def _trained(args: Namespace, pool: Pool | None) -> None:
    settings = settings_from(vars(args))
    folder = args.out or folder_of(settings, vars(args))
    if args.download:
        download(settings.dataset)
    if args.check:
        _look(settings)
        return
    run.train(settings, folder, overwrite=args.overwrite, pool=pool)
    print(f"run: {folder}")


def _look(settings: Settings) -> None:
    """Look the data over, and say whether training could start."""
    if settings.dataset != "folder":
        raise InputError(f"--check is for folder, not for {settings.dataset}: leave it out")
    from ..runs.look import look

    with console.waiting("looking at every image"):
        seen = look(settings)
    console.table(seen.rows, whole=True)
    for line in seen.lines:
        console.say(line)
    if seen.wrong:
        raise InputError(seen.wrong)
    console.say("training can start: leave out --check")


def _resume(args: Namespace) -> None:
    with workers(args.workers, args.scheduler) as pool:
        run.resume(args.run, pool=pool, **changed(vars(args)))


def _evaluate(args: Namespace) -> None:
    with workers(args.workers, args.scheduler) as pool:
        experiment, snapshot = run.load(args.run, training=False, pool=pool, **changed(vars(args)))
        s = experiment.settings
        seed = s.seed if args.seed is None else args.seed
        if pool and s.backend == "numba":  # compiled once, and not by every worker
            experiment.evaluate(snapshot, experiment.test, experiment.protocol(1, seed), map=map)
        result = report.measure(experiment, snapshot, args.tasks, seed, quiet=args.json)
    if args.json:
        way, shot = compare.task_of(s)
        print(json.dumps({
            "dataset": s.dataset, "way": way, "shot": shot, "algorithm": s.algorithm,
            "iteration": snapshot.iteration, "backend": s.backend, "seed": seed, **asdict(result),
        }))  # fmt: skip
    else:
        report.show(experiment, {f"iteration {snapshot.iteration}": result})


def _plot(args: Namespace) -> None:
    experiment, snapshot = run.load(args.run, training=False)
    pictures.draw(experiment, snapshot, args.run)


def _predict(args: Namespace) -> None:
    from ..runs import predict, trained

    if (args.run is None) == (args.pretrained is None):
        raise InputError("predict needs the folder of a run, or --pretrained NAME, and not both")
    if args.json and args.csv:
        raise InputError("--json and --csv are two forms of one answer: choose one")
    model = trained.load(args.run) if args.run else trained.pretrained(args.pretrained)
    found = predict.predict(
        model, args.support, args.query,
        transductive=args.transductive, skip_unreadable=args.skip_unreadable,
    )  # fmt: skip
    form = predict.as_json if args.json else predict.as_csv if args.csv else predict.as_table
    print(form(found).rstrip("\n"))


def _export(args: Namespace) -> None:
    from ..runs.trained import load
    from ..weights import export

    trained = load(args.run)
    export(trained, args.file, args.layout, args.half)
    print(f"{trained}\nweights: {args.file}, in the layout {args.layout!r}")


def _list(args: Namespace) -> None:
    folders = compare.folders_in(args.folder)
    if not folders:
        raise InputError(f"{args.folder} holds no runs: minireptile train makes one there")
    found = _read(folders)
    if args.json:
        print(json.dumps([each.record() for each in found], indent=1))
    else:
        _show(compare.listed(found))


def _show(rows: list[list[str]]) -> None:
    """A table of runs; on a screen too narrow for it, each folder on a line of its own."""
    screen, widths = console.out(), [max(map(len, column)) for column in zip(*rows, strict=True)]
    if not screen.is_terminal or sum(widths) + 2 * len(widths) <= screen.width:
        console.table(rows, whole=True)
        return
    for i, (folder, *cells) in enumerate(rows):
        console.say(folder, style="bold")
        line = "  ".join(map(str.ljust, cells, widths[1:]))
        console.say(f"  {line.rstrip()}", style="" if i else "bold")


def _compare(args: Namespace) -> None:
    found = _read(args.runs)
    if len(found) < 2:
        raise InputError(f"compare needs two runs or more, and has {len(found)} to read")
    if args.json:
        other = compare.differences(found)
        print(
            json.dumps({"differences": other, "runs": [each.record() for each in found]}, indent=1)
        )
        return
    for name, each in zip(compare.names(len(found)), found, strict=True):
        console.say(f"{name}  {each.folder}")
    console.table(compare.compared(found))


def _read(folders: list[Path]) -> list[compare.Run]:
    """The runs in these folders; those that cannot be read are named on stderr."""
    found, left_out = compare.read_all(folders)
    for sentence in left_out:
        print(f"minireptile: {sentence}", file=sys.stderr)
    return found


def _sweep(args: Namespace) -> int:
    from .sweep import run

    return run(args)


def _completion(args: Namespace) -> None:
    from .arguments import program
    from .completion import script

    print(script(args.shell, program()))


def _check(args: Namespace) -> None:
    from .. import testing

    rows = testing.check_layers(args.layer, args.backend)
    print(testing.table(rows))
    failed = {id(row.report): row for row in rows if not row.report.passed}
    if failed:
        raise InputError(f"gradients of {', '.join(r.layer for r in failed.values())} are wrong")


def _reproduce(args: Namespace) -> None:
    from ..reproduce.outcome import prepare

    for name in ("data", "workers", "scheduler"):
        if getattr(args, name) and args.name not in (*ON_CHARACTERS, "all"):
            raise InputError(f"--{name} is for {', '.join(ON_CHARACTERS)}: leave it out")
    with workers(args.workers, args.scheduler) as pool:
        prepare(args.out)
        _reproduced(args, pool)


def _reproduced(args: Namespace, pool: Pool | None) -> None:
    from ..reproduce.outcome import keep

    backend = args.backend or fastest(BY_SPEED[:-1])
    announce_compilation(backend)
    for name in EXPERIMENTS if args.name == "all" else (args.name,):
        outcome = reproduce(name, args.quick, backend, args.data, pool)
        paths = keep(name, outcome, args.out, args.quick)
        print(f"{name}\n{outcome.sentence()}\nfigures: {paths[0]}\npicture: {paths[1]}\n")
        sys.stdout.flush()  # the next one may take an hour


def _explore(args: Namespace) -> None:
    from .. import explore

    if args.static is None:
        if args.pyodide is not None:
            raise InputError("--pyodide is for --static DIR: leave it out")
        explore.show(args.port, args.backend, not args.no_browser)
        return
    from ..explore.static import build

    size = build(args.static, args.pyodide)
    print(f"pages: {args.static}, {size / 1e6:.1f} MB; any web host can serve them")


def _info(args: Namespace) -> None:
    for line in info.lines():
        print(line)


# By name; what one returns is its exit code, 0 where it is nothing.
COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "train": _train, "resume": _resume, "sweep": _sweep, "evaluate": _evaluate, "plot": _plot,
    "list": _list,
    "compare": _compare, "predict": _predict, "export": _export,
    "check": _check, "reproduce": _reproduce, "explore": _explore,
    "info": _info, "completion": _completion,
}  # fmt: skip
