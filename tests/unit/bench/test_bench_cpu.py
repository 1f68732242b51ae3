"""What a tree of processes uses is read right from /proc."""

from __future__ import annotations

import os
import time

from bench.cpu import ProcessStat, cpu_seconds, descendants, memory, parse_stat, parse_status, tree

TICKS = os.sysconf("SC_CLK_TCK")


def stat_line(pid: int, name: str, parent: int, *ticks: int) -> str:
    used = " ".join(str(tick) for tick in ticks)
    return f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 1 2 3 4 {used} 20 0 1 0 99 1 1"


def process(pid: int, parent: int, seconds: float = 1.0) -> ProcessStat:
    return ProcessStat(pid=pid, parent=parent, cpu_seconds=seconds)


def test_own_time_and_that_of_children_waited_for_add_up() -> None:
    line = stat_line(7, "python3", 3, TICKS, 2 * TICKS, 3 * TICKS, 4 * TICKS)
    assert parse_stat(line) == ProcessStat(pid=7, parent=3, cpu_seconds=10.0)


def test_a_name_with_blanks_and_brackets_is_no_hindrance() -> None:
    assert parse_stat(stat_line(7, "a) S (b", 3, 0, TICKS, 0, 0)) == process(7, 3)


def test_descendants_are_those_below_the_roots_and_no_others() -> None:
    processes = [process(4, 2), process(1, 0), process(2, 1), process(3, 1), process(9, 1), process(10, 9)]
    assert [found.pid for found in descendants(processes, (2, 9))] == [2, 9, 4, 10]


def test_a_root_that_is_gone_has_no_tree() -> None:
    assert descendants([process(1, 0)], (5,)) == []


def test_this_process_is_a_tree_and_its_time_grows() -> None:
    before = cpu_seconds((os.getpid(),))
    used = time.process_time()
    while time.process_time() < used + 0.1:
        pass
    assert os.getpid() in [found.pid for found in tree((os.getpid(),))]
    assert cpu_seconds((os.getpid(),)) > before


def test_memory_is_in_bytes() -> None:
    lines = ["Name:\tx", "VmPeak:\t  900 kB", "VmHWM:\t  20 kB", "VmRSS:\t  10 kB"]
    assert parse_status(lines) == {"VmHWM": 20480, "VmRSS": 10240}
    assert memory(os.getpid())["VmHWM"] >= memory(os.getpid())["VmRSS"] > 0
