"""Every figure of the parts on a GPU, computed a second way from times and sizes that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bench.measure
import minireptile as mr
from bench.calls import calls_of
from bench.gpu import card as gpu_card
from bench.gpu import checks as gpu_checks
from bench.gpu import crossover as gpu_crossover
from bench.gpu import kernels as gpu_kernels
from bench.gpu import part as gpu_part
from bench.gpu import report as gpu_report
from bench.gpu import settings as gpu_settings
from bench.gpu import train as gpu_train
from bench.gpu.card import Ceilings
from bench.gpu.part import Context
from bench.measure import Timing, rounding
from bench.settings import Setting
from bench.tables import TIME

from .bench_gpu_helpers import TINY, context
from .test_bench_measure import Clock

# ---------------------------------------------------------------------------------------- the clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    new = Clock()
    monkeypatch.setattr(bench.measure, "perf_counter", lambda: new.now)
    return new


def test_a_turn_waits_once_for_many_calls(clock: Clock) -> None:
    """A GPU that is given 0.25 s of work by a call, and 2 s by the first, and whose host waits."""
    queued, waits = [0.0], [0]
    work = iter([2.0])

    def call() -> None:
        queued[0] += next(work, 0.25)

    def wait() -> None:
        waits[0] += 1
        clock.now += queued[0]
        queued[0] = 0.0

    (timing,) = gpu_card.gpu_turns({"it": call}, rounds=3, least=1.9, wait=wait).values()
    assert timing == Timing(0.25, 0.25, 0.25, 9)
    assert waits == [6]  # the first call, one call, nine, and three turns


def test_quartiles_are_of_a_call(clock: Clock) -> None:
    """Turns of four calls that take 4 to 20 s, after those that are not counted."""
    turns = iter([9.0, 1.0, 4.0, 4.0, 20.0, 8.0, 12.0, 16.0])

    def wait() -> None:
        clock.now += next(turns)

    (timing,) = gpu_card.gpu_turns({"it": lambda: None}, 5, 3.6, wait).values()
    assert timing == Timing(3.0, 2.0, 4.0, 4)
    assert gpu_kernels.per_call(timing, 2) == Timing(1.5, 1.0, 2.0, 4)


def test_a_part_knows_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_part.time, "monotonic", lambda: 107.0)
    told = Context(quick=False, rounds=9, seconds=60.0, out="here", begin=100.0)
    assert told.left() == 53
    assert told.folder == Path("here")


# ----------------------------------------------------------------------------------------- the card


def fake_cupy(**runtime: Any) -> Any:
    """NumPy in CuPy's place."""
    names = "arange", "empty_like", "asarray", "copyto", "matmul", "float32"
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    return SimpleNamespace(
        **{name: getattr(np, name) for name in names}, get_default_memory_pool=lambda: pool,
        __version__="14.0", cuda=SimpleNamespace(runtime=SimpleNamespace(**runtime)),
    )  # fmt: skip


def test_rates_come_from_sizes_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of 4000 bytes in 1 ms, a product of two 50 x 50 matrices in 2 ms, in TF32 in 0.5."""
    seconds = {"copy": 1e-3, "matrix product": 2e-3, "matrix product, TF32": 5e-4}
    kinds, asked = ["none"], []

    class Kind:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def __enter__(self) -> None:
            kinds.append(self.kind)

        def __exit__(self, *error: object) -> None:
            kinds.pop()

    def turns(calls: dict, rounds: int, least: float = 0) -> dict:
        ((name, call),) = calls.items()
        call()
        sizes = [a.size for a in call.args if isinstance(a, np.ndarray)]
        asked.append((name, kinds[-1], rounds, sizes))
        return {name: Timing(seconds[name], 0.9 * seconds[name], 2 * seconds[name], 3)}

    monkeypatch.setattr(gpu_card, "cupy", lambda: fake_cupy())
    monkeypatch.setattr(gpu_card, "SIZES", {True: (4000, 50), False: (8000, 60)})
    monkeypatch.setattr(gpu_card, "compute_type", Kind)
    monkeypatch.setattr(gpu_card, "gpu_turns", turns)
    found = {name: (timing, more) for name, timing, more in gpu_card.measured(True, 7)}
    assert asked == [
        ("copy", "none", 7, [1000, 1000]), ("matrix product", "DEFAULT", 7, [2500, 2500]),
        ("matrix product, TF32", "TF32", 7, [2500, 2500]),
    ]  # fmt: skip
    assert found["copy"][1] == {"gbs": pytest.approx((4000 + 4000) / 1e-3 / 1e9)}
    work = sum(2 * 50 for _ in range(50) for _ in range(50))
    for name in ("matrix product", "matrix product, TF32"):
        assert found[name][1] == {"tflops": pytest.approx(work / seconds[name] / 1e12)}
        assert found[name][0].median == seconds[name]
    limit = gpu_card.ceilings()
    assert limit.bandwidth == pytest.approx(8e6)
    assert limit.rate == pytest.approx(work / 2e-3)
    assert limit.tf32 == pytest.approx(work / 5e-4)
    monkeypatch.setattr(gpu_card, "described", lambda: {"name": "A card"})
    monkeypatch.setattr(gpu_card, "smi", lambda: {})
    head, copy, product, rounded, _ = gpu_card.run(Context(True, 3, 1.0, ""))
    assert (head["name"], head["note"]) == ("A card", "name A card")
    assert [row["variant"] for row in (copy, product, rounded)] == list(seconds)
    assert (product["seconds"], product["low"], product["high"]) == pytest.approx(
        (2e-3, 1.8e-3, 4e-3)
    )
    assert rounded["tflops"] == pytest.approx(4 * product["tflops"])


def test_the_card_is_described_in_gigabytes_and_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = {
        "name": b"A card", "major": 9, "minor": 0, "multiProcessorCount": 132,
        "totalGlobalMem": 80_000_000_000, "l2CacheSize": 50_000_000,
    }  # fmt: skip
    runtime = {
        "getDevice": lambda: 0, "getDeviceProperties": lambda device: properties,
        "driverGetVersion": lambda: 13010, "runtimeGetVersion": lambda: 13000,
    }  # fmt: skip
    monkeypatch.setattr(gpu_card, "cupy", lambda: fake_cupy(**runtime))
    monkeypatch.setattr(gpu_card, "smi", lambda: {"smi_name": "so"})
    assert gpu_card.described() == {
        "name": "A card", "compute_capability": "9.0", "multiprocessors": 132,
        "memory_gb": pytest.approx(80), "l2_mb": pytest.approx(50), "cuda_driver": 13010,
        "cuda_runtime": 13000, "cupy": "14.0", "smi_name": "so",
    }  # fmt: skip


def test_every_answer_of_nvidia_smi_keeps_its_name() -> None:
    answers = [f"answer {i}" for i in range(len(gpu_card.QUERY))]
    assert list(gpu_card.read_smi(", ".join(answers)).items()) == [
        (f"smi_{name}", answer) for name, answer in zip(gpu_card.QUERY, answers, strict=True)
    ]
    assert gpu_card.read_smi(", ".join(answers[1:])) == {}


# -------------------------------------------------------------------------------------- the kernels


def test_the_figures_of_a_kernel() -> None:
    times = {
        "cupy v1": Timing(4.0, 3.0, 6.0, 7), "cupy v1, cached": Timing(2.0, 1.0, 3.0, 8),
        "cupy tf32": Timing(1.0, 0.5, 1.5, 9), "PyTorch a": Timing(5.0, 4.0, 6.0, 1),
        "PyTorch b, TF32": Timing(2.0, 1.0, 3.0, 1),
    }  # fmt: skip
    about = {
        "cupy v1": {"in_use": True, "least_seconds": 1.0, "nominal_seconds": 3.0},
        "cupy tf32": {"in_use": False, "least_seconds": 0.25, "nominal_seconds": 0.5},
    }
    rows = list(gpu_kernels.rows_of({"case": "c", "times": 3}, times, about, work=8, moved=16))
    assert [row["variant"] for row in rows] == [name for name in times if "cached" not in name]
    ours, rounded, a, b = rows
    assert ours == {
        "case": "c", "times": 3, "variant": "cupy v1", "seconds": 4.0, "low": 3.0, "high": 6.0,
        "calls": 7, "in_use": True, "least_seconds": 1.0, "cached_seconds": 2.0,
        "nominal_seconds": 3.0, "nominal": 0.75,
        "gflops": pytest.approx(8 / 4 / 1e9), "gbs": pytest.approx(16 / 4 / 1e9), "share": 0.25,
        "ratio": 2.0,
    }  # fmt: skip
    assert (rounded["share"], rounded["cached_seconds"], rounded["ratio"]) == (0.25, None, 0.5)
    assert [(row["share"], row["ratio"]) for row in (a, b)] == [(None, 2.5), (None, 1.0)]
    (alone,) = gpu_kernels.rows_of({"case": "c"}, {"cupy v1": times["cupy v1"]}, {}, 8, 16)
    assert alone["ratio"] is None


class Host:
    """A device that captures nothing, and counts."""

    def __init__(self) -> None:
        self.joined = 0

    def upload(self, array: Any) -> Any:
        return array.copy()

    def view(self, vector: Any, start: int, shape: tuple) -> Any:
        return np.zeros((2, *shape), vector.dtype)

    def join(self) -> None:
        self.joined += 1

    def capture(self, call: Callable) -> Callable:
        return call


def test_a_graph_goes_over_its_sets_of_arrays_once() -> None:
    (call,) = (c for c in calls_of(mr.sine_mlp(8), mr.SGD(0.1), 2, 3)
               if c.operation == "tanh_backward")  # fmt: skip
    seen: list = []
    device = Host()
    graphs = gpu_kernels.captured("v", call, lambda *a: seen.append(id(a[0])), device, 5)
    every, count = graphs["v"]
    every()
    assert len(seen) == len(set(seen)) == count == device.joined == 5
    one, again = graphs["v, cached"]
    seen.clear()
    one()
    assert len(seen) == again == gpu_kernels.AGAIN
    assert len(set(seen)) == 1


def test_each_version_is_held_to_its_own_least_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many operations and bytes; TF32 may use the tensor cores. A timing is of a graph."""
    call = next(c for c in calls_of(mr.sine_mlp(8), mr.SGD(0.1), 2, 3)
                if c.operation == "dense_forward" and c.shapes == "8")  # fmt: skip
    ladder = {"v1": (lambda *a: None, True), "tf32": (lambda *a: None, False)}
    monkeypatch.setattr(gpu_kernels, "ladder", lambda *_: ladder)
    monkeypatch.setattr(gpu_kernels, "through", lambda device, kernel: kernel)
    rounded: dict = {}
    monkeypatch.setattr(gpu_kernels, "agree", lambda v, c, k, tf32: rounded.update({v: tf32}))
    monkeypatch.setattr(gpu_kernels, "libraries", lambda *_: {})
    asked: list = []

    def turns(calls: dict, rounds: int, least: float, wait: Any) -> dict:
        asked.append((list(calls), rounds))
        return {name: Timing(40.0, 20.0, 80.0, 2) for name in calls}

    monkeypatch.setattr(gpu_kernels, "gpu_turns", turns)
    limit = Ceilings(bandwidth=1e3, rate=10.0, tf32=1e6)
    moved = 4 * (48 + 48 + 128 + 16)  # y, x, w, b
    cache = 3 * moved
    plain, tf32 = gpu_kernels.measure(call, {"case": "c"}, {"cupy": Host()}, limit, cache, 6)
    names = ["cupy v1", "cupy v1, cached", "cupy tf32", "cupy tf32, cached"]
    assert asked == [(names, 6)]
    assert rounded == {"cupy v1": False, "cupy tf32": True}
    work = 2 * 2 * 3 * 8 * 8
    assert plain["least_seconds"] == pytest.approx(work / 10)
    assert tf32["least_seconds"] == pytest.approx(moved / 1e3)
    for row in (plain, tf32):  # no taps on a padding
        assert row["nominal_seconds"] == row["least_seconds"]
    sets = gpu_kernels.sets(moved, cache)
    assert sets == 9
    for row in (plain, tf32):
        times = row["seconds"], row["low"], row["high"], row["cached_seconds"]
        assert times == pytest.approx((40 / sets, 20 / sets, 80 / sets, 40 / gpu_kernels.AGAIN))
        assert row["gflops"] == pytest.approx(work / row["seconds"] / 1e9)
        assert row["gbs"] == pytest.approx(moved / row["seconds"] / 1e9)


@pytest.mark.parametrize(("by", "bad"), [(0.9, False), (1.1, True)])
def test_tf32_may_be_off_by_five_of_its_roundings(by: float, bad: bool) -> None:
    call = next(c for c in calls_of(mr.sine_mlp(8), mr.SGD(0.1), 2, 3)
                if c.operation == "dense_forward")  # fmt: skip
    right = gpu_kernels.backend.kernels("numpy").dense_forward

    def off(y: Any, *rest: Any) -> None:
        right(y, *rest)
        y *= 1 + by * 5 / 1024

    if bad:
        with pytest.raises(bench.measure.Mismatch, match="off by 5"):
            gpu_kernels.agree("rounded", call, off, rounded=True)
    else:
        gpu_kernels.agree("rounded", call, off, rounded=True)


# ------------------------------------------------------------------------------------ the crossover


@pytest.mark.parametrize(("there", "names"), [(("numpy",), ["numpy"]),
                                              (("numpy", "numba", "cupy"), ["numba", "cupy"]),
                                              (("numpy", "cupy"), ["numpy", "cupy"])])  # fmt: skip
def test_the_crossover_is_of_the_fastest(
    monkeypatch: pytest.MonkeyPatch, there: tuple, names: list
) -> None:
    monkeypatch.setattr(gpu_crossover, "usable", lambda gpu: there)
    assert gpu_crossover.backends() == names


@pytest.mark.usefixtures("two_backends")
def test_the_crossovers_ratio_is_to_the_processor(
    monkeypatch: pytest.MonkeyPatch, known_times: Callable
) -> None:
    monkeypatch.setattr(gpu_crossover, "backends", lambda: ["numpy", "other"])
    times = {"numpy": Timing(2.0, 1.0, 3.0, 1), "other": Timing(5.0, 4.0, 7.0, 2)}
    known_times(gpu_crossover, times)
    one, two = gpu_crossover.measure(TINY, 3)
    assert (one["ratio"], two["ratio"]) == (1, 2.5)
    assert (two["variant"], two["seconds"], two["low"], two["high"]) == ("other", 5, 4, 7)


@pytest.mark.usefixtures("two_backends")
@pytest.mark.parametrize(("by", "bad"), [(0.8, False), (1.2, True)])
def test_a_gpus_phi_may_be_off_by_rounding_and_no_more(
    monkeypatch: pytest.MonkeyPatch, known_times: Callable, by: float, bad: bool
) -> None:
    monkeypatch.setattr(gpu_crossover, "backends", lambda: ["numpy", "other"])
    known_times(gpu_crossover, dict.fromkeys(("numpy", "other"), Timing(1.0, 1.0, 1.0, 1)))
    real, called = mr.adapt, []

    def adapt(model: Any, phi: Any, *rest: Any) -> Any:
        called.append(model)
        result = real(model, phi, *rest)
        if len(called) == 2:
            phi[1] *= 1 + by * rounding(np.float32, TINY.steps)
        return result

    monkeypatch.setattr(mr, "adapt", adapt)
    if bad:
        with pytest.raises(bench.measure.Mismatch, match=r"other on .* worst at \[1\]"):
            list(gpu_crossover.measure(TINY, 1))
    else:
        assert len(list(gpu_crossover.measure(TINY, 1))) == 2


# ---------------------------------------------------------------------------------- training, tests


def test_the_pace_of_iterations_is_timed_after_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first iteration of 100 s, and two of 3 s."""
    now, given = [0.0], []

    def reptile(model: Any, tasks: Any, optimizer: Any, loops: mr.Loops) -> Iterator[Any]:
        given.append((optimizer, loops))
        for i in range(10):
            now[0] += 3.0 if i else 100.0
            yield SimpleNamespace(theta=np.zeros(1))

    monkeypatch.setattr(mr, "reptile", reptile)
    monkeypatch.setattr(gpu_settings, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(gpu_settings, "fastest", lambda: "numpy")
    monkeypatch.setattr(Setting, "model", lambda self, name: name)
    monkeypatch.setattr(gpu_settings, "images", lambda *_: None)
    row = gpu_settings.pace("miniimagenet-5way-1shot", quick=True)
    assert (row["seconds"], row["low"], row["high"]) == (3, 3, 3)
    assert row["per_second"] == pytest.approx(1 / 3)
    assert now == [106.0]
    preset, (optimizer, loops) = gpu_settings.PRESETS["miniimagenet-5way-1shot"], given[0]
    for name in ("meta_batch", "inner_steps", "inner_batch", "train_shots"):
        assert getattr(loops, name) == preset[name]
    assert (optimizer, loops.state) == (mr.Adam(1e-3, beta1=0.0), "mean")


def test_settings_share_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list = []
    monkeypatch.setattr(gpu_part.time, "monotonic", lambda: 20.0 * len(asked))
    monkeypatch.setattr(gpu_settings, "data_of", lambda name: Path(name))

    def trained(*arguments: Any) -> list:
        asked.append(arguments)
        return []

    monkeypatch.setattr(gpu_settings, "trained", trained)
    list(gpu_settings.run(Context(False, 1, 100.0, "", begin=0.0)))
    assert [(presets, seconds) for presets, _, seconds in asked] == [
        (gpu_settings.RUNS[0], 50.0), (gpu_settings.RUNS[1], 80.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("each", "seconds", "count"),
    [(0.1, 1234.5, 12_000), (0.1, 129.9, 1200), (0.1, 9.99, 99), (0.1, 0.95, 9), (9.0, 1.0, 1)],
)
def test_iterations_that_fit_in_two_digits(each: float, seconds: float, count: int) -> None:
    assert gpu_train.affordable(100_000, each, seconds) == count


def test_a_run_without_time_gets_fewer_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 s, a fifth is for the evaluations; the rest fits 160 iterations of half a second."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: now[0])
    settings, _ = gpu_train.settings_of("omniglot-5way-1shot", quick=True)
    built: list = []

    def snapshots(count: int) -> Iterator[Any]:
        for i in range(count):
            now[0] += 0.5
            yield SimpleNamespace(iteration=i + 1, loss=np.array([[9.0, 9.0], [1.0, 3.0]]))

    def build(settings: Any) -> Any:
        built.append(settings.iterations)
        run = lambda: snapshots(settings.iterations)  # noqa: E731
        return SimpleNamespace(
            run=run, settings=settings, model=None, optimizer=None, loops=None,
        )  # fmt: skip

    for name, value in {
        "time": clock, "build": build, "speed": lambda experiment, seconds: 0.5,
        "begin": lambda *_: None, "save": lambda *_: None,
        "settings_of": lambda preset, quick: (settings, "drawn"),
        "evaluated": lambda preset, *rest: {"preset": preset, "rest": rest[-3:]},
    }.items():  # fmt: skip
        monkeypatch.setattr(gpu_train, name, value)
    run, one, five = gpu_train.trained(gpu_train.RUN, context(tmp_path), 100.0)
    assert built == [200, 160]
    assert (run["iterations"], run["seconds"], run["low"], run["high"]) == (160, 80, 80, 80)
    assert (run["per_second"], run["loss"]) == (2, 2)
    assert run["note"] == "drawn; 160 of 200 iterations, for lack of time"
    assert [row["preset"] for row in (one, five)] == list(gpu_train.RUN)
    for row in (one, five):
        assert row["rest"] == (True, 10.0, run["note"])


@pytest.mark.parametrize("differs", [None, "mean", "carry"])
def test_both_policies_must_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, differs: str | None
) -> None:
    drift = iter(range(10))

    def learned(backend: str, state: str, small: bool) -> np.ndarray:
        return np.array([len(state), next(drift) if state == differs else 0])

    monkeypatch.setattr(gpu_checks, "learned", learned)
    row = gpu_checks.twice("cupy", quick=True)
    assert row["failed"] == (differs is not None)
    assert row["note"] == ("the bits differ" if differs else "the same bits")


def test_a_report_has_a_table_for_each_part(tmp_path: Path) -> None:
    parts = {name: (about, TIME) for name, about in (("card", "what"), ("meta", "how"), ("x", "y"))}
    report = gpu_report.Report(tmp_path, parts, [])
    report.add("meta", {"case": "a", "variant": "v", "seconds": 0.5, "failed": True, "calls": 3})
    report.note("card", "skipped")
    assert report.text().splitlines() == [
        "# On a GPU", "", "## card: what", "",
        "| case, variant |", "| ------------- |", "| card          |", "|     skipped   |", "",
        "## meta: how", "",
        "| case, variant |   time | failed |", "| ------------- | -----: | -----: |",
        "| a                               |", "|   v           | 500 ms |    yes |", "",
        "- time: median of the turns", "- failed: what the note says is wrong",
    ]  # fmt: skip
