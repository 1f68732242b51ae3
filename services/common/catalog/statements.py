"""The statements of `queries.sql` by name, and rows as the JSON that they take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import resources
from typing import Any
from uuid import UUID

from psycopg2.extensions import cursor

Row = Mapping[str, Any]
"""One row by the names of its columns."""

_TEXT = (resources.files("services.common.catalog") / "queries.sql").read_text("utf-8")
_PARTS = re.split(r"^-- name: (\w+)\n", _TEXT, flags=re.MULTILINE)
STATEMENTS: Mapping[str, str] = dict(zip(_PARTS[1::2], _PARTS[2::2], strict=True))


def run(cur: cursor, name: str, **parameters: object) -> None:
    """Execute the statement of that name."""
    cur.execute(STATEMENTS[name], parameters)


def query(cur: cursor, name: str, **parameters: object) -> list[Row]:
    """Execute the statement of that name and give its rows."""
    run(cur, name, **parameters)
    names = [column.name for column in cur.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cur]


def as_json(rows: Iterable[Row]) -> str:
    """Rows for a statement that takes ``json_populate_recordset``."""
    return json.dumps(list(rows), default=_plain)


def _plain(value: object) -> str:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case bytes() | memoryview():
            return "\\x" + value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a row")
