"""The table says what the figures say, and the README's is that of the figures beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import FIGURES, README
from bench.quantiles import median, quantile
from bench.report import BEGIN, END, filled, table
from bench.results import Machine, PeerFacts, Results, Sample, load
from bench.rows import ROWS

MACHINE = Machine(
    date="2026-01-02", processor="Test", cores=2, memory_bytes=4 * 2**30, kernel="6", python="3.11"
)


def sample(measure: str, peer: str, seconds: float) -> Sample:
    return Sample(
        measure=measure,
        peer=peer,
        images=500,
        seconds=seconds,
        server_cpu_seconds=1.0,
        client_cpu_seconds=0.5,
    )


def facts(title: str) -> PeerFacts:
    return PeerFacts(title=title, version="1.0", durability="kept")


@pytest.fixture
def results() -> Results:
    measure = ROWS[0].measure
    ours = [sample(measure, "gantry", seconds) for seconds in (1.0, 2.0, 1.25)]
    theirs = [sample(measure, "orthanc", seconds) for seconds in (5.0, 4.0, 10.0)]
    return Results(
        machine=MACHINE,
        quick=False,
        peers={"gantry": facts("Gantry"), "orthanc": facts("Orthanc")},
        samples=ours + theirs,
    )


def test_medians_spread_cpu_time_and_ratio_stand_in_the_row(results: Results) -> None:
    row = next(line for line in table(results).splitlines() if line.startswith("| C-STORE"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "C-STORE 500 × 0.5 MB, 1 association",
        "**400** (325–450)<br>2.0 + 1.0 ms",
        "",
        "**100** (75–112)<br>2.0 + 1.0 ms",
        "",
        "",
        "4.0× Orthanc (3×)",
    ]


def test_rows_without_figures_are_left_out(results: Results) -> None:
    assert sum(line.startswith("| ") for line in table(results).splitlines()) == 3


def test_what_was_absent_and_what_failed_is_told(results: Results) -> None:
    results.absent["Orthanc"] = "apt-get install orthanc"
    results.failures.append("get, Gantry: 3 of 500 images came\nmore")
    told = table(results)
    assert "Left out: Orthanc (apt-get install orthanc)." in told
    assert "Runs without a figure: get, Gantry: 3 of 500 images came." in told


def test_lag_and_memory_have_rows_of_their_own(results: Results) -> None:
    results.lags["gantry"] = [0.1] * 99 + [1.5]
    results.memory["gantry"] = {"dicom": 120_000_000, "api": 90_000_000}
    told = table(results)
    assert "median 0.10 s, 99 % within **0.11 s** (100 images)" in told
    assert "120 MB: dicom" in told


def test_few_runs_are_called_so(results: Results) -> None:
    assert "QUICK=1" not in table(results)
    assert "QUICK=1" in table(replace(results, quick=True))


def test_figures_survive_their_file(results: Results, tmp_path: Path) -> None:
    results.lags["gantry"] = [0.25]
    results.save(tmp_path / "figures.json")
    assert load(tmp_path / "figures.json") == results


def test_only_what_is_between_the_markers_is_made_anew(results: Results) -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = filled(document, results)
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once
    assert filled(once, results) == once


def test_the_table_of_the_readme_is_that_of_the_figures() -> None:
    readme = README.read_text("utf-8")
    assert BEGIN in readme
    assert filled(readme, load(FIGURES)) == readme, "run python -m bench --readme"


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 0.9, 3.0), ([1.0, 2.0], 0.5, 1.5), ([4.0, 1.0, 2.0, 3.0], 0.25, 1.75), ([1.0, 9.0], 1.0, 9.0)],
)
def test_quantiles_are_interpolated(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


def test_no_values_have_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        median([])
