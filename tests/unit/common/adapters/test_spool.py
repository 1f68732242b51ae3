"""Waiting bytes are in memory while the budget lasts and on disk beyond, and the same in both."""

from __future__ import annotations

import pytest

from services.common.adapters.spool import MemoryBudget, Spool


def content(spool: Spool) -> bytes:
    body = spool.body()
    return bytes(body) if isinstance(body, bytes | bytearray) else body.read()


@pytest.mark.parametrize("limit", [0, 5, 12, 100])
def test_bytes_come_back_wherever_they_waited(limit: int) -> None:
    spool = Spool(MemoryBudget(limit))
    for piece in (b"hello ", memoryview(b"world"), bytearray(b"!")):
        spool.append(piece)
    assert spool.size == 12
    assert content(spool) == content(spool) == b"hello world!"
    spool.clear()


def test_beyond_the_budget_no_memory_is_held() -> None:
    budget = MemoryBudget(10)
    first, second = Spool(budget), Spool(budget)
    first.append(b"12345678")
    second.append(b"123")
    assert not isinstance(second.body(), bytes | bytearray)
    assert isinstance(first.body(), bytes | bytearray)
    assert budget.take(2)
    assert not budget.take(1)
    budget.give_back(2)
    first.append(b"9abcd")
    assert not isinstance(first.body(), bytes | bytearray)
    assert budget.take(10)
    first.clear()
    second.clear()


def test_a_cleared_spool_gives_its_memory_back_and_begins_anew() -> None:
    budget = MemoryBudget(4)
    spool = Spool(budget)
    for _ in range(3):
        spool.append(b"1234")
        assert isinstance(spool.body(), bytes | bytearray)
        spool.clear()
        assert spool.size == 0
    spool.append(b"12345")
    assert content(spool) == b"12345"
    spool.clear()
    assert budget.take(4)
