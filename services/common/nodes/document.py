"""The object that holds the nodes, read and written whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from services.common.errors import BlobMissing, GantryError
from services.common.keys import NODES_KEY
from services.common.model import BlobRef, Node
from services.common.ports import BlobStore

_TRIES = 3


class MalformedNodes(GantryError):
    """The object that holds the nodes cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocument:
    """All nodes by AE title; `version` grows with every change, and is 0 where none was ever made."""

    version: int
    nodes: Mapping[str, Node]


_CONTENT = TypeAdapter(NodeDocument)


def read_document(store: BlobStore) -> NodeDocument:
    """The nodes as the store has them; none where there is no such object.

    Raises:
        MalformedNodes: the object cannot be understood.
        Unavailable: the store does not serve.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            size = store.stat(NODES_KEY).size
        except BlobMissing:
            return NodeDocument(version=0, nodes={})
        try:
            with store.open(BlobRef(bucket=store.bucket, key=NODES_KEY, offset=0, length=size)) as stream:
                return _CONTENT.validate_json(stream.readall())
        except (BlobMissing, ValidationError) as exc:
            # Another process may have replaced the object between the two calls.
            if attempt == _TRIES:
                raise MalformedNodes(f"{NODES_KEY} cannot be understood") from exc
    raise AssertionError("the last attempt returns or raises")


def write_document(store: BlobStore, document: NodeDocument) -> None:
    """Replace the object, durably and whole."""
    writer = store.create(NODES_KEY)
    try:
        writer.write(_CONTENT.dump_json(document, indent=1))
        writer.commit({})
    finally:
        writer.abort()
