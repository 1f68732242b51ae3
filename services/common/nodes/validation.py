"""What a node must look like to be kept."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

from services.common.errors import InvalidQuery
from services.common.model import Node

_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_-]+)*\.?")
_UID = re.compile(r"[0-9.]{1,64}")
_LO = re.compile(r"[^\\\x00-\x1f\x7f]{0,64}")
_LONGEST_DESCRIPTION = 1000
_MOST_ASSOCIATIONS = 16


class InvalidNode(InvalidQuery):
    """A node cannot be kept as it is described."""


def significant(aet: str) -> str:
    """An AE title without the spaces at its ends, which do not count (PS3.5 6.2, AE)."""
    return aet.strip(" ")


def checked_node(node: Node) -> Node:
    """The node with its AE title's significant part alone, if it can be one.

    Raises:
        InvalidNode: title, host, port or another attribute cannot be what it says (PS3.5 6.2 AE, LO, UI).
    """
    node = replace(node, aet=significant(node.aet))
    for fault, is_sound in (
        ("an AE title is 1 to 16 characters of ASCII without backslash", _AE_TITLE.fullmatch(node.aet)),
        ("the host is no name and no address", _is_host(node.host)),
        ("a port is 1 to 65535", 1 <= node.port <= 65535),
        ("an issuer is at most 64 characters without backslash", _LO.fullmatch(node.default_issuer)),
        ("the description is too long", len(node.description) <= _LONGEST_DESCRIPTION),
        ("the description holds control characters", node.description.isprintable()),
        (
            "an idle time-out is a positive number of seconds",
            node.idle_timeout_seconds is None or node.idle_timeout_seconds > 0,
        ),
        (
            f"a node is sent to over 1 to {_MOST_ASSOCIATIONS} associations at a time",
            1 <= node.associations <= _MOST_ASSOCIATIONS,
        ),
        ("a transfer syntax is no UID", all(map(_UID.fullmatch, node.transfer_syntax_uids))),
    ):
        if not is_sound:
            raise InvalidNode(fault)
    return node


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return True
