"""The remote AEs that Gantry knows: one versioned object in the store, ``config/nodes.json``.

* `StoredNodeRules` answers from the last rules that could be read.
* `NodeRegistry` changes them.
"""

from __future__ import annotations

from services.common.nodes.registry import NodeRegistry
from services.common.nodes.rules import StoredNodeRules
from services.common.nodes.validation import InvalidNode, checked_node

__all__ = ["InvalidNode", "NodeRegistry", "StoredNodeRules", "checked_node"]
