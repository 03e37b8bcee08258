"""A race on a GPU, which stands in for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import measure, race, race_gpu, race_turns, results
from bench.gpu.card import Ceilings
from bench.measure import Mismatch
from bench.race_turns import MARGIN
from minireptile.errors import InputError
from minireptile.kernels import launch_cupy
from tests.gpu.cuda_on_cpu import COMPILER
from tests.gpu.gpu_stand_in import stand_in

from .racing import RELU, convolution, job, nothing, row


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A GPU that is not there, with these limits."""
    if COMPILER is None:
        pytest.skip("g++ is not installed, which compiles the kernels here")
    properties = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=int, getDeviceProperties=lambda _: {"l2CacheSize": 1000})
    )
    monkeypatch.setattr(race_gpu, "cupy", lambda: SimpleNamespace(cuda=properties))
    monkeypatch.setattr(race_gpu, "ceilings", lambda quick: Ceilings(1e9, 1e9, 1e9))
    monkeypatch.setattr(race_gpu.timed_cases, "__defaults__", (lambda: None,))
    with stand_in() as there:
        yield there


def on_gpu(path: Path) -> list[results.Row]:
    return race_turns.race(replace(job(path), gpu=True), nothing)


@pytest.mark.usefixtures("device")
def test_functions_for_arrays_of_a_gpu(write: Any, tiny: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(measure, "MOST", 2)
    refuses = "assert type(x).__name__ == 'Array'; np.maximum(x, 0"
    right = write(RELU.replace("np.maximum(x, 0", refuses))
    limits, *rows = on_gpu(right)
    assert limits["gbs_memory"] == 1
    cases = {row["case"] for row in rows}
    for case in cases:
        here = [row for row in rows if row["case"] == case]
        assert {row["variant"] for row in here} >= {"yours", "cupy v1"}
        assert [row["seconds"] for row in here] == sorted(row["seconds"] for row in here)
        assert [row["variant"] for row in here if row["yours"]] == ["yours"]
    assert "yours: " in race.report([limits, *rows])
    with pytest.raises(Mismatch, match=r"y of relu_forward"):
        on_gpu(write(RELU.replace("np.maximum(x, 0", "np.maximum(x, 0.01")))


@pytest.mark.usefixtures("device")
def test_a_cuda_source_stands_in_the_place_of_the_projects(
    write: Any, tiny: list[str], monkeypatch: Any
) -> None:
    """What its file lacks is the project's; here g++ compiles it."""
    monkeypatch.setattr(measure, "MOST", 2)
    asked: list[tuple[str, str]] = []

    def defined(stem: str, kernel: str) -> bool:
        asked.append((stem, kernel))
        return f" {kernel}(" in Path(f"{stem}.cu").read_text()

    monkeypatch.setattr(race_gpu, "defined", defined)
    text = (launch_cupy.HERE / "relu.cu").read_text()
    path = write(text, "mine.cu")
    assert {row["variant"] for row in on_gpu(path)} >= {"yours", "cupy v1"}
    assert (str(path.with_suffix("")), "conv2d_dw_v3") in asked
    wrong = text.replace("x[e] <= 0 ? 0 : x[e]", "x[e] <= 0 ? 1 : x[e]")
    assert wrong != text
    with pytest.raises(Mismatch, match=r"y of relu_forward"):
        on_gpu(write(wrong, "other.cu"))
    with pytest.raises(InputError, match=r"none.cu has no kernel of a name that is launched"):
        on_gpu(write("", "none.cu"))


def test_a_gpu_is_not_faster_than_it_can_be() -> None:
    call, _ = convolution(1, 1)
    most = MARGIN * race_turns.shared(call)
    for share, ladder, said in ((0.97, 0.5, False), (1.03, 0.5, True), (1.03, 1.1, False)):
        found = [row("cupy v1", 2.0), row("yours", 1.0), {"variant": "cupy v2", "note": "failed"}]
        found[0]["share"], found[1]["share"] = ladder, most * share
        first, second = race_gpu.rows_of(call, found, {"yours"})
        assert (first["variant"], first["ratio"], second["ratio"]) == ("yours", 0.5, 1.0)
        assert bool(first["note"]) == said
    failed = {"variant": "yours", "failed": True, "note": "an illegal address"}
    with pytest.raises(InputError, match=r"yours cannot be timed: an illegal address"):
        race_gpu.rows_of(call, [failed], {"yours"})
