"""The nodes over REST."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from services.api.dependencies import Archive, Here
from services.common.dimse.echo import echo
from services.common.errors import NotAcceptable, Unavailable, UnknownNode
from services.common.model import Node

router = APIRouter(prefix="/api/nodes", tags=["Nodes"])


class NodeBody(BaseModel):
    """A remote application entity that the archive knows."""

    model_config = ConfigDict(extra="forbid")

    aet: str = Field(description="Its AE title, 1 to 16 characters; case counts.", examples=["WORKSTATION"])
    host: str = Field(description="Its host name or address.", examples=["10.0.0.7"])
    port: int = Field(description="Its DICOM port.", examples=[104])
    description: str = ""
    default_issuer: str = Field(
        default="", description="Issuer of the patient IDs that it sends without one."
    )
    idle_timeout_seconds: int | None = Field(
        default=None,
        description="How long an idle association of it is kept; null is the archive's own time.",
    )
    transfer_syntax_uids: tuple[str, ...] = Field(
        default=(),
        description="What it is offered for storage, best first; none: what instances are stored in.",
    )
    associations: int = Field(
        default=1,
        description="Over how many associations at a time it is sent to, 1 to 16; several do not keep the "
        "order of instances.",
    )


class EchoResult(BaseModel):
    """What came of a C-ECHO; that a node does not answer is a result like another."""

    answered: bool
    milliseconds: float | None = Field(description="From connecting to the answer.")
    reason: str = Field(description="Why there was none.")


@router.get("")
def list_nodes(archive: Here) -> list[NodeBody]:
    """Every node, by AE title."""
    return [_body(node) for node in archive.nodes.all()]


@router.post("", status_code=HTTPStatus.CREATED)
def add_node(body: NodeBody, archive: Here) -> NodeBody:
    """Add a node, whose AE title must be new."""
    return _body(archive.registry.add(Node(**body.model_dump())))


@router.post("/{aet:path}/echo")
def echo_node(aet: str, archive: Here) -> EchoResult:
    """Send a C-ECHO to a node."""
    return try_echo(archive, aet)


@router.get("/{aet:path}")
def get_node(aet: str, archive: Here) -> NodeBody:
    """One node."""
    return _body(known_node(archive, aet))


@router.put("/{aet:path}")
def replace_node(aet: str, body: NodeBody, archive: Here) -> NodeBody:
    """Describe a node anew; its AE title is that of the path."""
    return _body(archive.registry.replace(Node(**{**body.model_dump(), "aet": aet})))


@router.delete("/{aet:path}", status_code=HTTPStatus.NO_CONTENT)
def remove_node(aet: str, archive: Here) -> None:
    """Forget a node."""
    archive.registry.remove(aet)


def known_node(archive: Archive, aet: str) -> Node:
    """The node of that AE title.

    Raises:
        UnknownNode: there is none.
    """
    node = archive.nodes.find(aet)
    if node is None:
        raise UnknownNode(f"no node {aet} is known")
    return node


def try_echo(archive: Archive, aet: str) -> EchoResult:
    """Send a C-ECHO to the node of that AE title.

    Raises:
        UnknownNode: there is none.
    """
    node = known_node(archive, aet)
    try:
        milliseconds = echo(node, archive.settings.dicom.ae_title)
    except (Unavailable, NotAcceptable) as failure:
        return EchoResult(answered=False, milliseconds=None, reason=str(failure))
    return EchoResult(answered=True, milliseconds=round(milliseconds, 1), reason="")


def _body(node: Node) -> NodeBody:
    return NodeBody.model_validate(node, from_attributes=True)
