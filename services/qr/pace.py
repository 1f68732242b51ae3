"""Waiting for something slow without falling silent."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

HEARTBEAT_SECONDS = 4.0
"""A viewer wants a pending response every 5 s."""


def paced(
    steps: Generator[T, None, None], seconds: float = HEARTBEAT_SECONDS
) -> Generator[T | None, None, None]:
    """What `steps` gives, none of it None, and None whenever the next takes longer than `seconds`.

    The steps are taken in one thread of their own; closing waits for the one that has begun.
    """
    context = contextvars.copy_context()

    def step() -> T | None:
        return next(steps, None)

    with ThreadPoolExecutor(1, thread_name_prefix="sub-operation") as thread:
        try:
            while True:
                future = thread.submit(context.run, step)
                while not wait([future], timeout=seconds).done:
                    yield None
                item = future.result()
                if item is None:
                    return
                yield item
        finally:
            thread.submit(context.run, steps.close).result()
