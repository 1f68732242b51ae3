"""The metrics that the code makes, read from its calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.generate.tables import code, table

SERVICES = Path(__file__).resolve().parents[2] / "services"
_KINDS = ("Counter", "Gauge", "Histogram")


def metrics() -> str:
    """Every metric, its labels and what it says."""
    found = {row for path in SERVICES.rglob("*.py") for row in _made_in(path)}
    return table(("metric", "kind", "labels", "meaning"), sorted(found))


def _made_in(path: Path) -> Iterator[tuple[str, str, str, str]]:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _KINDS:
            first = call.args[0] if call.args else None
            if isinstance(first, ast.Constant) and str(first.value).startswith("gantry_"):
                name, meaning, *labels = (ast.literal_eval(argument) for argument in call.args)
                yield (
                    code(name),
                    call.func.id.lower(),
                    ", ".join(map(code, labels[0])) if labels else "",
                    meaning.rstrip("."),
                )
