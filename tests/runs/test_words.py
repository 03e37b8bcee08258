"""What a run says of itself, and of the time that its parts take."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.delegate import begin
from minireptile.engine.threads import threads
from minireptile.loops import Snapshot
from minireptile.runs import experiment, phases, run, words
from minireptile.runs.settings import Settings
from minireptile.tasks.images import Splits, with_rotations

SINE = Settings(
    dataset="sine", network="sine", backend="numpy", iterations=1200, shot=7, train_shots=20,
    epsilon=0.5, epsilon_final=0.5, optimizer="sgd", inner_lr=0.02, meta_batch=3, inner_steps=4,
    inner_batch=8, outer="adam",
)  # fmt: skip
GLYPHS = Settings(backend="numpy", way=3, shot=2, filters=3, iterations=10)


def said(built: experiment.Experiment, done: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    start = begin(built.model, built.optimizer, built.loops)
    words.header(built, replace(start, iteration=done), Path("runs/here"))
    return capsys.readouterr().out.splitlines()


def test_the_header_of_a_run_on_functions(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(experiment.build(SINE), 0, capsys)
    assert found[0] in {f"backend    numpy, {n} threads" for n in range(2, 999)} | {
        "backend    numpy, 1 thread"
    }
    assert found[1:] == [
        "data       sine",
        "network    sine, 4,353 parameters, float32",
        "task       7 points each, trained on 20 examples",
        "algorithm  reptile, epsilon 0.5, outer adam",
        "loops      1,200 iterations of 3 tasks; 4 steps of 8 examples, sgd 0.02",
        "run        runs/here",
    ]


def test_the_header_of_a_run_on_images(tiny: Splits, capsys: pytest.CaptureFixture[str]) -> None:
    """At most eight lines of 80 columns, with classes counted and a note where there is one."""
    built = replace(experiment.build(GLYPHS), note="half of it")
    found = said(built, 4, capsys)
    assert found[1:4] == [
        "data       glyphs, 8 classes to train on, 7 to test on",
        "note       half of it",
        f"network    omniglot, {built.model.size:,} parameters, float32",
    ]
    assert found[4] == "task       3-way 2-shot, trained on 10 examples of each class"
    assert found[-1] == "run        runs/here, from iteration 4 on"
    assert len(found) == 8
    assert max(map(len, found)) <= 80
    turned = replace(built, train=mr.FewShot(with_rotations(tiny.train), 3))
    assert said(turned, 0, capsys)[1] == (
        "data       glyphs, 32 classes to train on (8, each turned), 7 to test on"
    )


def test_the_header_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a compiled call, or the card."""
    plural = "thread" if threads() == 1 else "threads"
    assert words._machine("numba") == f"numba, {threads()} {plural}"
    card = SimpleNamespace(describe=lambda: "A card, compute capability 9.0, 80 GiB")
    monkeypatch.setattr(words, "device_of", lambda backend: card)
    assert words._machine("cupy") == "cupy, A card"


def test_what_can_be_done_next(capsys: pytest.CaptureFixture[str]) -> None:
    words.next_steps(GLYPHS, Path("runs/my run"))
    assert capsys.readouterr().out == (
        "next       minireptile predict 'runs/my run' --support DIR --query DIR\n"
        "           minireptile evaluate 'runs/my run'\n"
        "           minireptile resume 'runs/my run' --iterations 100\n"
    )
    words.next_steps(SINE, Path("there"))
    assert capsys.readouterr().out == (
        "next       minireptile evaluate there\n"
        "           minireptile resume there --iterations 2400\n"
    )


def test_epsilon_where_a_run_goes_on() -> None:
    """Of one without iterations, its first."""
    assert words._epsilon(replace(SINE, iterations=0, epsilon=0.75), 0) == 0.75
    annealed = replace(SINE, iterations=4, epsilon=1.0, epsilon_final=0.5)
    assert words._epsilon(annealed, 2) == 0.75
    assert words._epsilon(replace(annealed, iterations=1), 1) == 0.5


def test_what_is_otherwise_from_now_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole numbers in full, others as they are typed; not where it computes."""
    before = replace(SINE, checkpoint_every=100, inner_lr=0.02)
    now = replace(before, checkpoint_every=1234567, inner_lr=1e-5, backend="numba", data="there")
    words.changed(before, now, 3000)
    assert capsys.readouterr().out.splitlines() == [
        "inner-lr was 0.02, and is 1e-05 from iteration 3,000 on",
        "checkpoint-every was 100, and is 1234567 from iteration 3,000 on",
    ]


def test_parts_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in a line with its own detail and name, but for a silent one and one that fails."""
    clock = count(0.0, 2.0)
    monkeypatch.setattr(phases, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    made = phases.Phases()
    with made.part("data", "drawing", said=False):
        pass
    with made.part("loading") as part:
        part.name, part.detail = "compiling", "once"
    with pytest.raises(KeyError), made.part("broken"):
        raise KeyError
    made.total()
    captured = capsys.readouterr()
    assert captured.out == "compiling  2 s       once\n12 s in all: data 2 s, compiling 2 s\n"
    assert captured.err == ""


@pytest.mark.usefixtures("no_pictures")
def test_a_run_from_its_header_to_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts in their order; NumPy compiles nothing."""
    run.train(replace(SINE, iterations=2, eval_every=0, test_tasks=2, eval_steps=1), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    firsts = [line.split()[0] if line else "" for line in lines]
    assert firsts == [
        "backend", "data", "network", "task", "algorithm", "loops", "run", "",
        "training", "testing", "", "mean", "before", "0", "1", "", "pictures", lines[17].split()[0],
        "next", "minireptile",
    ]  # fmt: skip
    assert lines[8].endswith("2 iterations")
    assert lines[9].endswith("2 unseen tasks, before and after")
    assert " in all: data " in lines[17]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_compiled_comes_before_the_bar_and_changes_nothing(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One iteration and one evaluation of no account; where a kernel was compiled, it says so. The
    run itself has the bits of one without."""
    settings = replace(
        SINE, iterations=3, outer="plain", eval_every=2, eval_tasks=2, eval_steps=1, test_tasks=0
    )
    bare = list(experiment.build(settings).run())
    announced: list[str] = ["said before"]
    order: list[str] = []

    def iterations(self: experiment.Experiment, start: Snapshot | None = None) -> Any:
        for each in own(self, start):
            order.append(f"iteration {each.iteration}")
            if compiled and len(order) == 1:
                announced.append("compiling")
            yield each

    def evaluated(self: experiment.Experiment, *arguments: Any) -> Any:
        order.append("evaluation")
        return evaluate(self, *arguments)

    own, evaluate = experiment.Experiment.run, experiment.Experiment.evaluate
    monkeypatch.setattr(experiment.Experiment, "run", iterations)
    monkeypatch.setattr(experiment.Experiment, "evaluate", evaluated)
    monkeypatch.setattr(run, "announce_compilation", lambda backend: announced)
    monkeypatch.setattr(run, "COMPILED", ("numpy",))
    run.train(settings, tmp_path)
    assert order == [
        "iteration 1", "evaluation", "iteration 1", "iteration 2", "evaluation", "iteration 3",
    ]  # fmt: skip
    out = capsys.readouterr().out
    line = next(x for x in out.splitlines() if x.startswith(("compiling", "loading")))
    assert line.split()[0] == ("compiling" if compiled else "loading")
    assert line.endswith("the numpy kernels" + (", once for this machine" if compiled else ""))
    found = run.load(tmp_path)[1]
    assert found.theta.tobytes() == bare[-1].theta.tobytes()


def test_a_divergence_before_the_run_is_left_to_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is resumed may be past what its first iteration would give."""
    monkeypatch.setattr(run, "COMPILED", ("numpy",))
    built = experiment.build(replace(SINE, inner_lr=1e30, outer="plain"))
    with np.errstate(all="ignore"):
        run.warm_up(built, phases.Phases())
    assert "loading" in capsys.readouterr().out
