"""``gantry nodes``: the remote AEs that this archive knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.reach import archived, commanding
from services.cli.table import show
from services.common.errors import UnknownNode

if TYPE_CHECKING:
    from services.common.nodes import NodeRegistry
    from services.common.ports import NodeRules

app = typer.Typer(no_args_is_help=True, help="The remote AEs that this archive knows.")


@app.command("list")
def nodes_list() -> None:
    """List the nodes."""
    rows = [
        (node.aet, node.host, str(node.port), node.description, node.default_issuer)
        for node in _nodes().all()
    ]
    show(("AE title", "host", "port", "description", "issuer"), rows)


@app.command("add")
def nodes_add(
    aet: Annotated[str, typer.Argument(help="Its AE title.")],
    host: Annotated[str, typer.Argument(help="Its host name or address.")],
    port: Annotated[int, typer.Argument(help="Its DICOM port.")],
    description: str = "",
    default_issuer: Annotated[str, typer.Option(help="Issuer of the patient IDs that it sends.")] = "",
    transfer_syntax: Annotated[
        list[str] | None, typer.Option(help="UID of a transfer syntax that it is offered; best first.")
    ] = None,
    associations: Annotated[
        int, typer.Option(help="Over how many associations at a time it is sent to.")
    ] = 1,
) -> None:
    """Add a node."""
    from services.common.model import Node

    node = Node(
        aet=aet,
        host=host,
        port=port,
        description=description,
        default_issuer=default_issuer,
        transfer_syntax_uids=tuple(transfer_syntax or ()),
        associations=associations,
    )
    kept = _registry().add(node)
    typer.echo(f"{kept.aet} is {kept.host}:{kept.port}")


@app.command("remove")
def nodes_remove(aet: str) -> None:
    """Remove a node."""
    _registry().remove(aet)
    typer.echo(f"{aet} is removed")


@app.command("echo")
def nodes_echo(aet: str) -> None:
    """Send a C-ECHO to a node."""
    from services.common.dimse.echo import echo

    node = _nodes().find(aet)
    if node is None:
        raise UnknownNode(f"no node {aet} is known")
    milliseconds = echo(node, commanding().dicom.ae_title)
    typer.echo(f"{node.aet} answered after {milliseconds:.0f} ms")


def _registry() -> NodeRegistry:
    from services.common.adapters.stores import open_store
    from services.common.journal import StoreJournal
    from services.common.nodes import NodeRegistry

    store = open_store(archived(commanding()))
    return NodeRegistry(store, StoreJournal(store))


def _nodes() -> NodeRules:
    from services.common.adapters.stores import open_store
    from services.common.nodes import StoredNodeRules

    return StoredNodeRules(open_store(archived(commanding())))
