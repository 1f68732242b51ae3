"""Changes of the nodes: checked, journalled, and written as the next version."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydantic import TypeAdapter

from services.common.errors import UnknownNode
from services.common.model import Node
from services.common.nodes.document import NodeDocument, read_document, write_document
from services.common.nodes.validation import InvalidNode, checked_node, significant
from services.common.ports import BlobStore, Journal

_NODE = TypeAdapter(Node)


class NodeRegistry:
    """Adds, replaces and removes nodes.

    Each method raises Unavailable, and changes nothing, where the store cannot be read or written, and
    MalformedNodes rather than overwrite what it cannot understand.  S3 has no portable compare-and-swap:
    of two changes by two processes in one instant the last one stays, and the journal tells of both.
    """

    def __init__(
        self, store: BlobStore, journal: Journal, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """`on_change` is called after each change, for example `StoredNodeRules.refresh`."""
        self._store = store
        self._journal = journal
        self._on_change = on_change
        self._changing = threading.Lock()

    def add(self, node: Node) -> Node:
        """Keep a new node; gives it as it is kept.

        Raises:
            InvalidNode: it is none, or its AE title is taken.
        """
        node = checked_node(node)
        with self._changing:
            present = read_document(self._store)
            if node.aet in present.nodes:
                raise InvalidNode(f"a node {node.aet} is known already")
            self._put("node_added", node, present)
        return node

    def replace(self, node: Node) -> Node:
        """Keep a node instead of the one of the same AE title; gives it as it is kept.

        Raises:
            InvalidNode: it is none.
            UnknownNode: no node has its AE title.
        """
        node = checked_node(node)
        with self._changing:
            present = read_document(self._store)
            if node.aet not in present.nodes:
                raise UnknownNode(f"no node {node.aet} is known")
            self._put("node_replaced", node, present)
        return node

    def remove(self, aet: str) -> None:
        """Forget the node of that AE title.

        Raises:
            UnknownNode: there is none.
        """
        with self._changing:
            present = read_document(self._store)
            node = present.nodes.get(significant(aet))
            if node is None:
                raise UnknownNode(f"no node {significant(aet)} is known")
            rest = {title: other for title, other in present.nodes.items() if title != node.aet}
            self._change("node_removed", node, NodeDocument(version=present.version + 1, nodes=rest))

    def _put(self, kind: str, node: Node, present: NodeDocument) -> None:
        nodes = {**present.nodes, node.aet: node}
        self._change(kind, node, NodeDocument(version=present.version + 1, nodes=nodes))

    def _change(self, kind: str, node: Node, document: NodeDocument) -> None:
        content = {"version": str(document.version), "node": _NODE.dump_json(node).decode()}
        self._journal.append(kind, content)
        write_document(self._store, document)
        self._on_change()
