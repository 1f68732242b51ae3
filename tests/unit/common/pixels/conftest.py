"""One pool of codec processes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.pixels.pool import CodecPool, Limits


@pytest.fixture(scope="session")
def codec_pool() -> Iterator[CodecPool]:
    """Two codec processes."""
    pool = CodecPool(Limits(processes=2))
    yield pool
    pool.close()
