"""The budget of receive buffers: never exceeded, never refused, first come first served."""

from __future__ import annotations

import threading

from prometheus_client import REGISTRY

from services.common.dimse.buffers import BufferPool, OwnBuffer
from tests.waiting import wait_until


def held() -> float:
    return REGISTRY.get_sample_value("gantry_dimse_buffer_bytes") or 0.0


def test_a_budget_is_as_many_buffers_as_fit_and_one_at_least() -> None:
    before = held()
    pool = BufferPool(2500, size=1000)
    first, second = pool.lease(), pool.lease()
    assert len(first) == len(second) == 1000
    assert held() - before == 2000
    pool.give_back(first)
    assert pool.lease() is first
    assert len(BufferPool(10, size=1000).lease()) == 1000


def test_who_cannot_have_one_waits_and_the_first_is_served_first() -> None:
    pool = BufferPool(1000, size=1000)
    buffer = pool.lease()
    served: list[int] = []
    go_on = [threading.Event() for _ in range(3)]

    def ask(number: int) -> None:
        got = pool.lease()
        served.append(number)
        assert go_on[number].wait(120)
        pool.give_back(got)

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        wait_until(lambda number=number: pool.waiting == number + 1)  # type: ignore[misc]
    assert served == []
    pool.give_back(buffer)
    for number in range(3):
        wait_until(lambda number=number: served == list(range(number + 1)))  # type: ignore[misc]
        go_on[number].set()
    for thread in threads:
        thread.join(120)
    assert pool.lease() is buffer


def test_the_memory_of_buffers_that_nobody_needs_goes_back() -> None:
    before = held()
    pool = BufferPool(100_000, size=1000)
    buffers = [pool.lease() for _ in range(100)]
    assert held() - before == 100_000
    for buffer in buffers:
        pool.give_back(buffer)
    assert held() - before <= 8_000
    assert len([pool.lease() for _ in range(100)]) == 100


def test_a_lane_that_shares_none_keeps_its_own() -> None:
    own = OwnBuffer()
    buffer = own.lease()
    own.give_back(buffer)
    assert own.lease() is buffer
