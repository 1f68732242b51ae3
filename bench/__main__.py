"""``python -m bench``: measure, and write the JSON file and the table."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import tools
from bench.plan import PEERS, Bench, Options
from bench.report import filled, table
from bench.results import Results, load, this_machine
from bench.rows import ROWS, chosen

_REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = _REPOSITORY / "docs" / "benchmarks.json"
"""Those of the table in the README."""
README = _REPOSITORY / "README.md"
_OUTPUT = _REPOSITORY / "build" / "bench"
_LONGEST_MINUTES = 120


def main() -> int:
    """Do what the command line says; gives the exit code."""
    arguments = _arguments()
    if arguments.list:
        for row in ROWS:
            print(f"{row.key:10} {row.title.format(n=row.size.count)}")
        return 0
    if arguments.readme:
        README.write_text(filled(README.read_text("utf-8"), load(FIGURES)), encoding="utf-8")
        return 0
    if missing := [program for program in tools.CLIENTS if not tools.present(program)]:
        print(f"the clients are absent: {tools.hint(missing[0])}", file=sys.stderr)
        return 1
    results = _measured(arguments)
    (arguments.output / "benchmarks.md").write_text(table(results) + "\n", encoding="utf-8")
    print(f"\n{table(results)}\n\nwritten: {arguments.output}/benchmarks.json and benchmarks.md")
    if arguments.publish:
        results.save(FIGURES)
        README.write_text(filled(README.read_text("utf-8"), results), encoding="utf-8")
    return 1 if any("Gantry" in failure for failure in results.failures) else 0


def _measured(arguments: argparse.Namespace) -> Results:
    """Measure, and clean up whatever happens; a signal or the time limit ends every server."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(60 * _LONGEST_MINUTES)
    results = Results(machine=this_machine(), quick=arguments.quick)
    options = Options(
        rounds=arguments.runs or (1 if arguments.quick else 5),
        lag_seconds=5 if arguments.quick else 20,
        quick=arguments.quick,
        peers=frozenset(arguments.peers.split(",")) if arguments.peers else _peers(quick=arguments.quick),
    )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="gantry-bench-", dir=arguments.folder) as folder:
        try:
            Bench(Path(folder), options, results, say).run(chosen(arguments.rows, quick=arguments.quick))
        finally:
            results.save(arguments.output / "benchmarks.json")  # what there is, if it is stopped
    return results


def _peers(*, quick: bool) -> frozenset[str]:
    """All; or, for a quick look, without the second column and the slowest."""
    return frozenset(key for key in PEERS if not (quick and (key.endswith("-paused") or key == "qrscp")))


def _stop(number: int, _: object) -> None:
    sys.exit(f"stopped by {signal.Signals(number).name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Gantry and its peers, side by side")
    add = parser.add_argument
    add("--quick", action="store_true", help="few runs of few images: under 3 minutes")
    add("--rows", default="", help="rows to measure, with commas between (see --list)")
    add("--peers", default="", help=f"peers to measure, of {', '.join(PEERS)}")
    add("--runs", type=int, default=0, help="runs of each peer and row (default 5, quick 1)")
    add("--folder", type=Path, default=_OUTPUT, help="on the disk to measure on (default %(default)s)")
    add("--output", type=Path, default=_OUTPUT, help="where the figures go (default %(default)s)")
    add("--publish", action="store_true", help="make them those of the README")
    add("--readme", action="store_true", help="only make the README's table anew from its figures")
    add("--list", action="store_true", help="name the rows")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
