"""The table in Markdown, made of nothing but the figures, and put between markers in a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bench.quantiles import median, quantile
from bench.results import Results, Sample
from bench.rows import COLUMNS, LAG_AIM_SECONDS, MEMORY_AIM_BYTES, ROWS, Row, Work

BEGIN = "<!-- generated: benchmark -->"
END = "<!-- end of benchmark -->"
_BLOCK = re.compile(f"{BEGIN}\n.*?{END}", re.DOTALL)
_HEAD = ("images per second", *COLUMNS, "ratio (aim)")


def table(results: Results) -> str:
    """All rows that have figures, and what was left out."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_cells(row, results)) for row in ROWS if _has_figures(row, results)]
    return "\n\n".join(["\n".join(lines), *_notes(results)])


def filled(text: str, results: Results) -> str:
    """The document with the table between its markers made anew."""
    block = f"{BEGIN}\n\n{table(results)}\n\n{END}"
    return _BLOCK.sub(lambda _: block, text)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _has_figures(row: Row, results: Results) -> bool:
    if row.work is Work.LAG:
        return bool(results.lags.get("gantry"))
    if row.work is Work.MEMORY:
        return bool(results.memory.get("gantry"))
    return bool(results.of(row.measure, row.peers[0]))


def _cells(row: Row, results: Results) -> list[str]:
    if row.work is Work.LAG:
        told = _lag(results.lags["gantry"])
        return [_title(row, 0), *_alone(told), f"(under {LAG_AIM_SECONDS:g} s)"]
    if row.work is Work.MEMORY:
        peaks = results.memory["gantry"]
        greatest = max(peaks.items(), key=lambda item: item[1])
        told = f"{_megabytes(greatest[1])}: {greatest[0]}"
        return [_title(row, 0), *_alone(told), f"(under {_megabytes(MEMORY_AIM_BYTES)})"]
    runs = [results.of(row.measure, peer) for peer in row.peers]
    return [_title(row, runs[0][0].images), *(_rate(samples) for samples in runs), _ratios(row, results)]


def _title(row: Row, images: int) -> str:
    return row.title.format(n=images)


def _alone(text: str) -> list[str]:
    return [text, *[""] * (len(COLUMNS) - 1)]


def _rate(samples: Sequence[Sample]) -> str:
    """The median rate, its quartiles, and the CPU time per image at the server and at the client."""
    if not samples:
        return ""
    rates = [sample.rate for sample in samples]
    server = median([1000 * sample.server_cpu_seconds / sample.images for sample in samples])
    client = median([1000 * sample.client_cpu_seconds / sample.images for sample in samples])
    spread = f"{_figure(quantile(rates, 0.25))}–{_figure(quantile(rates, 0.75))}"
    return f"**{_figure(median(rates))}** ({spread})<br>{_figure(server)} + {_figure(client)} ms"


def _ratios(row: Row, results: Results) -> str:
    """Gantry's median divided by a peer's, for each aim."""
    told = []
    ours = results.of(row.measure, row.peers[0])
    for aim in row.aims:
        theirs = results.of(row.measure, aim.against)
        if ours and theirs:
            ratio = median([run.rate for run in ours]) / median([run.rate for run in theirs])
            title = results.peers[aim.against].title
            told.append(f"{ratio:.1f}× {title} ({aim.ratio:g}×)")
    return "<br>".join(told)


def _lag(lags: Sequence[float]) -> str:
    half, most = quantile(lags, 0.5), quantile(lags, 0.99)
    return f"median {half:.2f} s, 99 % within **{most:.2f} s** ({len(lags)} images)"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _megabytes(value: int) -> str:
    return f"{value / 1e6:.0f} MB"


def _notes(results: Results) -> Iterator[str]:
    machine = results.machine
    quick = " Few runs of few images (`QUICK=1`)." if results.quick else ""
    yield (
        "Medians (quartiles) of runs in turn; below them CPU time per image, server + client. "
        f"{machine.cores} cores ({machine.processor}), {machine.memory_bytes / 2**30:.0f} GiB, "
        f"Linux {machine.kernel}, Python {machine.python}, {machine.date}.{quick}"
    )
    shown = [facts for key, facts in results.peers.items() if not key.endswith("-paused")]
    told = "; ".join(f"{facts.title} {facts.version}: {facts.durability}" for facts in shown)
    yield f"When it acknowledges: {told}."
    if peaks := results.memory.get("gantry"):
        told = ", ".join(f"{name} {_megabytes(peak)}" for name, peak in sorted(peaks.items()))
        yield f"Memory, the greatest process of each service: {told}."
    if results.absent:
        told = "; ".join(f"{name} ({reason})" for name, reason in results.absent.items())
        yield f"Left out: {told}."
    if results.failures:
        first_lines = {line.splitlines()[0] for line in results.failures}
        yield f"Runs without a figure: {'; '.join(sorted(first_lines))}."
