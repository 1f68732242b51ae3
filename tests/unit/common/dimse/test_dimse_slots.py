"""The limit of associations that processes share."""

from __future__ import annotations

import os
import threading

from services.common.dimse.slots import AssociationSlots


def test_the_limit_holds_over_processes_and_a_dead_ones_slots_come_back() -> None:
    slots = AssociationSlots(3, processes=2)
    child = os.fork()
    if child == 0:
        seat = slots.seat(1)
        os._exit(0 if seat.acquire() and seat.acquire() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert slots.taken == 2
    seat = slots.seat(0)
    assert seat.acquire()
    assert not seat.acquire()
    slots.clear(1)
    assert slots.taken == 1
    assert seat.acquire()


def test_threads_of_one_process_never_pass_the_limit() -> None:
    slots = AssociationSlots(50)
    seat = slots.seat()
    got: list[bool] = []
    threads = [
        threading.Thread(target=lambda: got.extend(seat.acquire() for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(True) == 50 == slots.taken
    seat.release()
    assert slots.taken == 49
