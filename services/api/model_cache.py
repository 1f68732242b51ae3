"""The DICOM JSON models that were made lately, so that a series is fast when it is opened again."""

from __future__ import annotations

import secrets
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable

from services.common.model import BlobRef

BUDGET_BYTES = 32 * 2**20
PLACE = f"place-{secrets.token_hex(16)}".encode()
"""Stands in a model where the address of its instance goes; no data set can hold what nobody knows."""

_FASTEST = 1


class ModelCache:
    """Encoded models by the original that they describe, compressed, the least lately used out first.

    An original never changes, so neither does its model.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget = budget_bytes
        self._size = 0
        self._models: OrderedDict[BlobRef, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, original: BlobRef, make: Callable[[], bytes]) -> bytes:
        """The model of `original`, made by `make` where it is not here."""
        with self._lock:
            kept = self._models.get(original)
            if kept is not None:
                self._models.move_to_end(original)
        if kept is not None:
            return zlib.decompress(kept)
        model = make()
        self._keep(original, zlib.compress(model, _FASTEST))
        return model

    def _keep(self, original: BlobRef, model: bytes) -> None:
        if len(model) > self._budget:
            return
        with self._lock:
            replaced = self._models.pop(original, b"")
            self._models[original] = model
            self._size += len(model) - len(replaced)
            while self._size > self._budget:
                _, oldest = self._models.popitem(last=False)
                self._size -= len(oldest)
