"""``gantry send``: files and folders to a node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.reach import commanding
from services.common.errors import InvalidInstance, UnknownNode

if TYPE_CHECKING:
    from services.common.model import Location, Node
    from services.common.sending import Sender
    from services.common.settings import CommonSettings

app = typer.Typer()

_GROUP_FILES = 2000
"""So many are looked at before they are sent, for an association proposes what all of them need."""

_ADDRESS = re.compile(r"(?P<aet>[^@]{1,16})@(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")
_terminal = Console(highlight=False, stderr=True)


@app.command(name="send")
def send(
    target: Annotated[str, typer.Argument(help="AE title of a node, or AE@host:port.", metavar="NODE")],
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    associations: Annotated[
        int | None, typer.Option(help="Over how many associations at a time; otherwise as the node says.")
    ] = None,
) -> None:
    """Send files and folders to a node, and say what was not sent and why."""
    from services.common.sending import Result
    from services.ingest.importing import files_below

    settings = commanding()
    node = _node(target, settings, associations)
    files = list(files_below(paths))
    counts: Counter[str] = Counter()
    not_sent: list[str] = []
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            _sender(node, settings) as sender,
            Progress(*columns, console=_terminal, disable=not _terminal.is_terminal) as progress,
        ):
            bar = progress.add_task("sending", total=len(files))
            remaining = iter(files)
            while group := list(islice(remaining, _GROUP_FILES)):
                locations = list(_located(group, counts, not_sent))
                progress.advance(bar, len(group) - len(locations))
                for ended in sender.send(locations):
                    if ended is None:
                        continue
                    progress.advance(bar)
                    counts[ended.result.value] += 1
                    if ended.result is not Result.COMPLETED:
                        not_sent.append(_line(ended.result.value, ended.location.blob.key, ended.detail))
    finally:
        for line in not_sent:
            typer.echo(line)
        if counts or not files:
            typer.echo(
                f"{counts['completed']} sent, {counts['warning']} sent with a warning, "
                f"{counts['failed']} failed, {counts['passed over']} passed over"
            )
    if counts["failed"]:
        raise typer.Exit(1)


def _node(target: str, settings: CommonSettings, associations: int | None) -> Node:
    """The node meant: one that is known, or one at an address."""
    from dataclasses import replace

    from services.common.adapters.stores import open_store
    from services.common.model import Node
    from services.common.nodes import StoredNodeRules, checked_node

    address = _ADDRESS.fullmatch(target)
    if address is not None:
        host = address["host"].strip("[]")
        node: Node | None = Node(aet=address["aet"], host=host, port=int(address["port"]))
    else:
        node = StoredNodeRules(open_store(settings)).find(target)
    if node is None:
        raise UnknownNode(f"no node {target} is known, and it is no AE@host:port")
    return checked_node(node if associations is None else replace(node, associations=associations))


@contextmanager
def _sender(node: Node, settings: CommonSettings) -> Iterator[Sender]:
    from services.common.dimse.requestor import associate
    from services.common.pixels.converter import PoolConverter
    from services.common.pixels.pool import CodecPool
    from services.common.sending import Sender
    from services.common.sending.files import FileReader

    pool = CodecPool()
    reader = FileReader()
    try:
        yield Sender(
            node=node,
            store=reader,
            converter=PoolConverter(reader, pool),
            associate=partial(associate, own_aet=settings.dicom.ae_title),
        )
    finally:
        pool.close()


def _located(files: Sequence[Path], counts: Counter[str], not_sent: list[str]) -> Iterator[Location]:
    """The instances in files; what is none is counted, and why it is none."""
    from services.common.sending.files import NoInstance, locate_file

    for path in files:
        outcome = "failed"
        try:
            yield locate_file(path)
            continue
        except NoInstance as nothing:
            outcome, reason = "passed over", str(nothing)
        except InvalidInstance as error:
            reason = str(error)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        counts[outcome] += 1
        not_sent.append(_line(outcome, str(path), reason))


def _line(what: str, path: str, reason: str) -> str:
    """A line of the report, whatever bytes the names in the path are made of."""
    name = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    printable = "".join(character if character.isprintable() else "\ufffd" for character in name)
    return f"{what}: {printable}: {reason}"
