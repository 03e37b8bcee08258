"""What is mutated together, and the tests that are to notice: each part takes an hour at most."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """Patterns of files to change, and files of tests."""

    modules: list[str]
    tests: list[str]


def tests(*names: str) -> list[str]:
    return [f"tests/{name}.py" for name in names]


ALGORITHMS = ("optim", "loops", "outer", "tail", "relatives", "fomaml", "maml", "imaml")
LOOPS = [
    *tests(*(f"algorithms/test_{name}" for name in ALGORITHMS)),
    *tests("tasks/test_sampling", "mutants/test_mutants_found"),
]

PARTS = {
    "kernels": Part(
        ["minireptile/kernels/*_numpy.py", "minireptile/kernels/window.py"],
        [
            *tests("kernels/test_kernels", "kernels/test_contract", "engine/test_layers",
                   "engine/test_r_operator", "engine/test_model"),
            *LOOPS,
        ],
    ),
    "loops": Part(
        [f"minireptile/{name}.py" for name in
         ("optim", "loops", "reptile", "joint", "fomaml", "maml", "imaml")],
        [*tests("engine/test_model", "engine/test_r_operator"), *LOOPS],
    ),
    "evaluate": Part(
        ["minireptile/evaluate.py", "minireptile/rng.py"],
        tests("algorithms/test_evaluate", "tasks/test_sampling", "mutants/test_mutants_found"),
    ),
    "tasks": Part(
        [f"minireptile/tasks/{name}.py" for name in ("base", "images", "sine")],
        tests("tasks/test_sampling", "tasks/test_loaders", "algorithms/test_evaluate",
              "mutants/test_mutants_found"),
    ),
    "layers": Part(
        ["minireptile/layers/*.py", "minireptile/networks.py"],
        tests("engine/test_layers", "engine/test_model", "engine/test_r_operator",
              "engine/test_own_layers", "testing/test_testing"),
    ),
    "testing": Part(
        ["minireptile/testing/*.py"],
        tests(*(f"testing/test_{name}" for name in
                ("testing", "tolerances", "reports", "arguments", "strategies", "mistakes"))),
    ),
    "runs": Part(
        [f"minireptile/runs/{name}.py" for name in
         ("experiment", "presets", "settings", "checkpoint", "metrics", "run", "naming",
          "compare", "needs", "look")],
        tests(*(f"runs/test_{name}" for name in
                ("run", "checkpoint", "cli", "cli_wrong", "cli_info", "experiment", "presets",
                 "log", "report", "naming", "compare", "look"))),
    ),
    "cli": Part(
        ["minireptile/cli/*.py", "minireptile/runs/words.py"],
        [
            *tests(*(f"runs/test_{name}" for name in
                     ("cli", "cli_wrong", "cli_info", "cli_words", "cli_passes", "completion",
                      "words", "sweep", "sweep_shown", "sweep_words", "look", "run", "resume",
                      "compare", "report", "naming", "experiment", "reproduce"))),
            *tests("use/test_predict", "use/test_pretrained", "explore/test_command"),
        ],
    ),
    # Not what runs in the workers themselves: mutmut sees nothing in processes that a test starts.
    "workers": Part(
        ["minireptile/lots.py",
         *(f"minireptile/runs/{name}.py" for name in
           ("seeds", "sweep", "sweep_table", "workers/__init__", "workers/base", "workers/kind"))],
        tests("algorithms/test_lots", "runs/test_workers", "runs/test_sweep",
              "runs/test_sweep_shown", "runs/test_sweep_words", "runs/test_verdicts"),
    ),
    "use": Part(
        ["minireptile/runs/trained.py", "minireptile/runs/predict.py",
         *(f"minireptile/{name}.py" for name in
           ("trained", "head", "weights", "estimators/*", "tasks/rows"))],
        tests(*(f"use/test_{name}" for name in
                ("trained", "weights", "pretrained", "predict", "estimators"))),
    ),
    "reproduce": Part(
        ["minireptile/reproduce/*.py"],
        tests("algorithms/test_convergence", *(f"runs/test_{name}" for name in
              ("reproduce", "verdicts", "measured", "measured_on_characters", "figures",
               "figures_of_training", "experiments_drawn"))),
    ),
    "bench": Part(
        [f"bench/{name}.py" for name in
         ("measure", "results", "tables", "compare", "calls", "products", "memory")],
        tests("bench/test_bench", *(f"bench/test_bench_{name}" for name in
                                    ("measure", "results", "costs", "machine", "ladder", "inner",
                                     "whole", "tables"))),
    ),
    "race": Part(  # nor the process of a race, nor what g++ compiles
        ["bench/race.py", "bench/race_check.py", "bench/race_file.py"],
        tests(*(f"bench/race/test_race{name}" for name in ("", "_check", "_file"))),
    ),
}  # fmt: skip
