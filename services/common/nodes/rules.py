"""The rules in force: the last ones that could be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from services.common import logs
from services.common.counts import Gauge
from services.common.errors import Unavailable
from services.common.model import Node
from services.common.nodes.document import MalformedNodes, NodeDocument, read_document
from services.common.nodes.validation import significant
from services.common.ports import BlobStore

_log = logs.get(__name__)

_STALE = Gauge(
    "gantry_node_rules_stale",
    "1 while the rules per node cannot be read and the last ones stay in force.",
    multiprocess_mode="livemax",
)
_VERSION = Gauge(
    "gantry_node_rules_version",
    "The version of the rules per node that is in force.",
    multiprocess_mode="livemin",
)


MISS_SECONDS = 1.0


class StoredNodeRules:
    """The nodes, read again when the last reading is older than `refresh_seconds`.

    A node that is not found is looked for again in rules at most `MISS_SECONDS` old: who has just been
    added is known at once.
    One thread reads while the others go on with what is in force.  Rules that cannot be read or
    have gone leave those in force and raise an alarm.  Make it after a fork.
    """

    def __init__(
        self,
        store: BlobStore,
        *,
        refresh_seconds: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._refresh_seconds = refresh_seconds
        self._monotonic = monotonic
        self._reading = threading.Lock()
        self._read_at = float("-inf")
        self._document: NodeDocument | None = None
        self._alarm = ""

    def find(self, aet: str) -> Node | None:
        """The node of that AE title; leading and trailing spaces do not count, case does.

        Raises:
            Unavailable: no rules could ever be read.
        """
        title = significant(aet)
        node = self._in_force(self._refresh_seconds).nodes.get(title)
        return node or self._in_force(min(MISS_SECONDS, self._refresh_seconds)).nodes.get(title)

    def all(self) -> Sequence[Node]:
        """Every node, by AE title.

        Raises:
            Unavailable: no rules could ever be read.
        """
        nodes = self._in_force(self._refresh_seconds).nodes
        return [nodes[aet] for aet in sorted(nodes)]

    def refresh(self) -> None:
        """Read the rules now, for they have changed."""
        with self._reading:
            self._read()

    def _in_force(self, oldest_seconds: float) -> NodeDocument:
        if self._is_older(oldest_seconds) and self._reading.acquire(blocking=self._document is None):
            try:
                if self._is_older(oldest_seconds):
                    self._read()
            finally:
                self._reading.release()
        if self._document is None:
            raise Unavailable("the rules per node could not be read yet")
        return self._document

    def _is_older(self, seconds: float) -> bool:
        return self._monotonic() - self._read_at >= seconds

    def _read(self) -> None:
        try:
            found = read_document(self._store)
        except (Unavailable, MalformedNodes) as exc:
            self._raise_alarm(str(exc))
        else:
            if found.version == 0 and self._document is not None and self._document.version > 0:
                self._raise_alarm("the rules have gone from the store")
            else:
                self._take(found)
        self._read_at = self._monotonic()

    def _take(self, found: NodeDocument) -> None:
        if self._alarm:
            _log.info("node_rules_read_again", version=found.version)
        self._document = found
        self._alarm = ""
        _STALE.set(0)
        _VERSION.set(found.version)

    def _raise_alarm(self, reason: str) -> None:
        if reason != self._alarm:
            version = self._document.version if self._document is not None else None
            _log.error("node_rules_unreadable", reason=reason, version_in_force=version)
        self._alarm = reason
        _STALE.set(1)
