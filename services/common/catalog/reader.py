"""The table of contents as `services.common.ports.CatalogReader`: answers by pages in short transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from psycopg2.extensions import cursor

from services.common.adapters.postgres import Postgres
from services.common.catalog import compile
from services.common.catalog.headers import unpack_header
from services.common.catalog.recipes import recipe_from_json
from services.common.model import (
    BlobRef,
    CapturedHeader,
    Digests,
    InstanceKey,
    Location,
    Rendition,
    RenditionKind,
)
from services.common.query import Match, Query, Selection

PAGE_SIZE = 1000
LOCATION_PAGE_SIZE = 10_000
"""Locations are gathered and not streamed, so that a page need not be small."""

_NO_HEADER = CapturedHeader(version=0, content=b"", covers=0)

Row = tuple[Any, ...]


class PostgresCatalogReader:
    """Reads the catalog; between two pages it holds no connection."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        page_size: int = PAGE_SIZE,
        location_page_size: int = LOCATION_PAGE_SIZE,
    ) -> None:
        self._postgres = postgres
        self._page_size = page_size
        self._location_page_size = location_page_size

    def find(self, query: Query) -> Iterator[Match]:
        """Every match, in the order that `compile` gives the level."""
        after: compile.Position | None = None
        remaining = query.limit
        while remaining is None or remaining > 0:
            size = self._page_size if remaining is None else min(self._page_size, remaining)
            page = compile.page(query, after=after, size=size)
            with self._postgres.transaction(read_only=True) as cur:
                rows = _rows(cur, page.statement)
                dictionaries = _dictionaries(cur, rows) if page.headers else {}
            for row in rows:
                yield _match(page, row, dictionaries)
            if len(rows) < size:
                return
            after = rows[-1][: page.keys]
            remaining = None if remaining is None else remaining - size

    def count(self, query: Query) -> int:
        """How many matches there are now."""
        with self._postgres.transaction(read_only=True) as cur:
            return int(_rows(cur, compile.count(query))[0][0])

    def locate(self, selection: Selection) -> Sequence[Location]:
        """The instances selected, each with the renditions made of the bytes that are served."""
        located: list[Location] = []
        after: compile.Position | None = None
        size = self._location_page_size
        while True:
            page = compile.location_page(selection, after=after, size=size)
            with self._postgres.transaction(read_only=True) as cur:
                rows = _rows(cur, page.statement)
                dictionaries = _dictionaries(cur, rows) if page.headers else {}
                renditions = _renditions(cur, rows, page.keys)
            located += [_location(page, row, dictionaries, renditions) for row in rows]
            if len(rows) < size:
                return located
            after = rows[-1][: page.keys]

    def known(self, sop_instance_uids: Collection[str]) -> set[tuple[str, str]]:
        """SOP Instance UID and data set digest of every original of these instances, served or not."""
        if not sop_instance_uids:
            return set()
        with self._postgres.transaction(read_only=True) as cur:
            cur.execute(compile.KNOWN_ORIGINALS, {"uids": list(sop_instance_uids)})
            return {(uid, bytes(digest).hex()) for uid, digest in cur.fetchall()}


def _rows(cur: cursor, statement: compile.Statement) -> list[Row]:
    cur.execute(statement.sql, statement.parameters)
    return cur.fetchall()


def _dictionaries(cur: cursor, rows: Sequence[Row]) -> Mapping[int, bytes]:
    """What the headers of these rows are compressed against, by series: each row's last value."""
    series = list({row[-1] for row in rows if row[-1] is not None})
    cur.execute(compile.SERIES_DICTIONARIES, (series,))
    return {row_id: bytes(content) for row_id, content in cur.fetchall() if content is not None}


def _match(page: compile.Page, row: Row, dictionaries: Mapping[int, bytes]) -> Match:
    values = {
        attribute.keyword: text
        for attribute, value in zip(page.attributes, row[page.keys :], strict=False)
        if (text := _text(value))
    }
    if not page.headers or row[-1] is None:
        return Match(values=values)
    return Match(values=values, header=_header(row, dictionaries), transfer_syntax_uid=row[-2])


def _text(value: str | int | list[str] | None) -> str:
    if isinstance(value, list):
        return "\\".join(value)
    return "" if value is None else str(value)


def _header(row: Row, dictionaries: Mapping[int, bytes]) -> CapturedHeader:
    content, form, version, covers, _, series = row[-6:]
    unpacked = unpack_header(form, bytes(content), dictionaries.get(series))
    return CapturedHeader(version=version, content=unpacked, covers=covers)


def _location(
    page: compile.Page,
    row: Row,
    dictionaries: Mapping[int, bytes],
    renditions: Mapping[int, list[Row]],
) -> Location:
    width = len(compile.LOCATION_COLUMNS)
    study, series, sop, sop_class, syntax, bucket, key, offset, length, start, data_set, file = row[
        page.keys : page.keys + width
    ]
    return Location(
        key=InstanceKey(study_instance_uid=study, series_instance_uid=series, sop_instance_uid=sop),
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        blob=BlobRef(bucket=bucket, key=key, offset=offset, length=length),
        data_set_offset=start,
        digests=Digests(data_set=bytes(data_set).hex(), file=bytes(file).hex()),
        header=_header(row, dictionaries) if page.headers else _NO_HEADER,
        # The row is older than these by a moment, in which other bytes may have taken its place.
        renditions=tuple(
            _rendition(sop, found)
            for found in renditions.get(row[page.keys - 1], ())
            if (bytes(found[-2]), found[-1]) == (bytes(data_set), syntax)
        ),
    )


def _renditions(cur: cursor, rows: Sequence[Row], keys: int) -> Mapping[int, list[Row]]:
    """Rendition rows by instance row id, which is the last of the ordering values."""
    cur.execute(compile.RENDITIONS, ([row[keys - 1] for row in rows],))
    found: dict[int, list[Row]] = {}
    for row in cur.fetchall():
        found.setdefault(row[0], []).append(row[1:])
    return found


def _rendition(sop_instance_uid: str, row: Row) -> Rendition:
    kind, syntax, bucket, key, offset, length, file_length, start, digest, recipe, refusal, *source = row
    return Rendition(
        sop_instance_uid=sop_instance_uid,
        source_digest=bytes(source[0]).hex(),
        source_transfer_syntax_uid=source[1],
        kind=RenditionKind(kind),
        transfer_syntax_uid=syntax,
        blob=None if key is None else BlobRef(bucket=bucket, key=key, offset=offset, length=length),
        file_length=file_length or 0,
        data_set_offset=start or 0,
        digest=bytes(digest).hex() if digest else "",
        recipe=None if recipe is None else recipe_from_json(recipe),
        refusal=refusal or "",
    )
