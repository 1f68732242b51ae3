"""The nodes as a page: listed, added, removed, and asked whether they answer."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from services.api.admin.nodes_rest import EchoResult, try_echo
from services.api.admin.page import PageRoute, here, page
from services.api.dependencies import Archive, Here
from services.common.model import Node
from services.common.nodes import InvalidNode

router = APIRouter(prefix="/nodes", route_class=PageRoute, include_in_schema=False)

_Text = Annotated[str, Form()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForm:
    """The form as it was filled in, to be shown again where something is wrong with it."""

    aet: str = ""
    host: str = ""
    port: str = ""
    description: str = ""
    default_issuer: str = ""

    def node(self) -> Node:
        """What it describes.

        Raises:
            InvalidNode: the port is no number.
        """
        port = self.port.strip()
        if not port.isascii() or not port.isdecimal():
            raise InvalidNode("a port is a number from 1 to 65535")
        return Node(
            aet=self.aet,
            host=self.host.strip(),
            port=int(port),
            description=self.description.strip(),
            default_issuer=self.default_issuer.strip(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoed:
    """What came of a C-ECHO to a node."""

    aet: str
    result: EchoResult


@router.get("")
def nodes(request: Request, archive: Here) -> Response:
    """The page."""
    return _page(request, archive)


@router.post("")
def add(
    request: Request,
    archive: Here,
    aet: _Text = "",
    host: _Text = "",
    port: _Text = "",
    description: _Text = "",
    default_issuer: _Text = "",
) -> Response:
    """Add a node."""
    form = NodeForm(aet=aet, host=host, port=port, description=description, default_issuer=default_issuer)
    try:
        archive.registry.add(form.node())
    except InvalidNode as fault:
        return _page(request, archive, form=form, fault=str(fault), status=HTTPStatus.BAD_REQUEST)
    return _back(request)


@router.post("/remove")
def remove(request: Request, archive: Here, aet: _Text) -> Response:
    """Forget a node."""
    archive.registry.remove(aet)
    return _back(request)


@router.post("/echo")
def echo(request: Request, archive: Here, aet: _Text) -> Response:
    """Ask a node whether it answers, and show what it said."""
    return _page(request, archive, echoed=Echoed(aet=aet, result=try_echo(archive, aet)))


def _page(
    request: Request,
    archive: Archive,
    *,
    form: NodeForm | None = None,
    fault: str = "",
    echoed: Echoed | None = None,
    status: int = HTTPStatus.OK,
) -> Response:
    values: dict[str, object] = {
        "nodes": archive.nodes.all(),
        "form": form or NodeForm(),
        "fault": fault,
        "echoed": echoed,
    }
    return page(request, "nodes.html", values, status=status)


def _back(request: Request) -> Response:
    return RedirectResponse(f"{here(request).root}/nodes", HTTPStatus.SEE_OTHER)
