"""How keys lie in a folder tree, and how to walk the tree in the order of the keys.

A key's parts are folders and a file.  An hour can hold a million time-ordered names, too many to sort for
a page of a thousand, so that files named by a UUIDv7 lie one folder deeper: ``t=`` and the first eight
digits of the name, which are the same for 65.5 s.  No part of a key holds ``=`` or begins with a dot;
what does is the store's own.  Whatever else lies in the folder is passed over.
"""

from __future__ import annotations

import heapq
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.common.keys import checked

_TIMED_NAME = re.compile(r"[0-9a-f]{32}\.")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*|t=[0-9a-f]{8}")
_SPAN = "t="
_SPAN_DIGITS = 8
_SPAN_BITS = 16
_DAY = 86400.0


def place(root: Path, key: str) -> Path:
    """Where the file of a key lies, which is always below `root`.

    Raises:
        ValueError: it is no key (`keys.checked`).
    """
    folder, _, name = checked(key).rpartition("/")
    if _TIMED_NAME.match(name):
        return root / folder / f"{_SPAN}{name[:_SPAN_DIGITS]}" / name
    return root / folder / name


def remove_past_span(folder: Path) -> None:
    """Remove the folder of a span of time where it is empty and more than a day over.

    Nobody puts anything more into it then: a younger one may be on its way into another process's hands.
    """
    if folder.name.startswith(_SPAN):
        began_at = (int(folder.name.removeprefix(_SPAN), 16) << _SPAN_BITS) / 1000
        if began_at < time.time() - _DAY:
            with suppress(OSError):  # it is not empty, or another process was faster
                folder.rmdir()


def walk(root: Path, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
    """Key and path of every file whose key begins with `prefix` and is greater than `after`, in key order.

    Folders are read as the walk comes to them, and those that cannot hold such a key never.
    """
    return _walk(root, "", prefix, after)


def _walk(folder: Path, stem: str, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
    """What lies in `folder`, where every key begins with `stem`."""
    plain: list[tuple[str, str]] = []
    spans: list[str] = []
    for name, is_folder in _entries(folder):
        if name.startswith(_SPAN):
            spans.append(name)
        else:
            plain.append((f"{stem}{name}/" if is_folder else stem + name, name))

    def walk_plain() -> Iterator[tuple[str, Path]]:
        for key, name in sorted(plain):
            if not key.endswith("/"):
                if key.startswith(prefix) and key > after:
                    yield key, folder / name
            elif _may_hold(key, prefix, after):
                yield from _walk(folder / name, key, prefix, after)

    def walk_spans() -> Iterator[tuple[str, Path]]:
        for name in sorted(spans):
            if _may_hold(stem + name.removeprefix(_SPAN), prefix, after):
                yield from _walk(folder / name, stem, prefix, after)

    return heapq.merge(walk_plain(), walk_spans())


def _may_hold(stem: str, prefix: str, after: str) -> bool:
    """Whether a key that begins with `stem` can begin with `prefix` and be greater than `after`."""
    return (stem.startswith(prefix) or prefix.startswith(stem)) and (stem > after or after.startswith(stem))


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Name and whether it is a folder, of all that the store shows; nothing where the folder has gone."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_dir()) for entry in entries if _NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
