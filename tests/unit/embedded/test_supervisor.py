"""The supervisor with children that are a line of shell each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.embedded.keeper import RESTARTS
from services.embedded.process import Child, ChildSpec
from services.embedded.supervisor import SAME_REQUEST_SECONDS, Supervisor
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[3]


def shell(name: str, script: str, **more: object) -> ChildSpec:
    return ChildSpec(name=name, argv=("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]


def look_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    """Let the supervisor do its work until the condition holds."""

    def holds() -> bool:
        supervisor.turn(0.05)
        return condition()

    wait_until(holds)


def test_children_start_in_order_and_each_waits_for_the_one_before(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with Supervisor() as supervisor:
        supervisor.start(shell("first", f"sleep 0.2; touch {first}; sleep 60", ready=first.exists))
        assert first.exists()
        supervisor.start(shell("second", f"test -e {first} && touch {second}; sleep 60", ready=second.exists))
        assert supervisor.ready == {"first": True, "second": True}
    assert supervisor.ready == {}


def test_stages_stop_in_reverse_and_each_waits_for_the_one_after(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Supervisor() as supervisor:
        for name, stage in (("database", 0), ("worker", 1), ("proxy", 2)):
            up = tmp_path / name
            script = (
                f"trap 'sleep 0.1; echo {name} >> {log}; exit' TERM; touch {up}; while :; do sleep 0.05; done"
            )
            supervisor.start(shell(name, script, stage=stage, ready=up.exists))
    assert log.read_text().split() == ["proxy", "worker", "database"]


def test_what_dies_is_started_again_and_counted(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    before = RESTARTS.labels("mortal")._value.get()
    with Supervisor() as supervisor:
        supervisor.start(shell("mortal", f"echo $$ >> {starts}; exec sleep 60", ready=starts.exists))
        look_until(supervisor, lambda: starts.read_text() != "")
        os.kill(int(starts.read_text()), signal.SIGKILL)
        look_until(supervisor, lambda: len(starts.read_text().split()) == 2)
        look_until(supervisor, lambda: supervisor.ready["mortal"])
    assert RESTARTS.labels("mortal")._value.get() - before == 1


def test_what_dies_again_and_again_is_started_ever_more_slowly(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with Supervisor() as supervisor:
        supervisor.start(shell("mayfly", f"date +%s.%N >> {starts}"))
        look_until(supervisor, lambda: starts.exists() and len(starts.read_text().split()) == 5)
    times = [float(line) for line in starts.read_text().split()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap >= expected for gap, expected in zip(gaps, (0.2, 0.4, 0.8, 1.6), strict=True)), gaps


def test_what_lives_but_does_not_work_is_started_again(tmp_path: Path) -> None:
    answers = iter([True, False, False, True, False, False, False])
    starts = tmp_path / "starts"
    spec = shell(
        "idle", f"echo x >> {starts}; exec sleep 60", stop_timeout=0.1,
        healthy=lambda: next(answers, True), health_interval=0.05,
    )  # fmt: skip
    with Supervisor() as supervisor:
        supervisor.start(spec)
        look_until(supervisor, lambda: starts.exists() and starts.read_text() == "x\nx\n")
    assert next(answers, None) is None


def test_a_start_is_repeated_once_something_was_repaired(tmp_path: Path) -> None:
    up, obstacle = tmp_path / "up", tmp_path / "obstacle"
    obstacle.touch()

    def repair() -> bool:
        found = obstacle.exists()
        obstacle.unlink(missing_ok=True)
        return found

    with Supervisor() as supervisor:
        supervisor.start(
            shell(
                "odd", f"test -e {obstacle} && exit 1; touch {up}; sleep 60", ready=up.exists, repair=repair
            )
        )
        with pytest.raises(Unavailable, match="status 1"):
            supervisor.start(shell("broken", "exit 1", ready=lambda: False, repair=repair))


def test_a_start_that_ctrl_c_broke_is_a_stop_and_no_failure() -> None:
    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise Unavailable("initdb failed with status -2")

    with Supervisor() as supervisor:
        supervisor.start(shell("server", "sleep 600", prepare=interrupted))
        pytest.fail("it was started")
    assert supervisor.stop_requested


def test_what_need_not_live_is_not_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with Supervisor() as supervisor:
        supervisor.start(shell("once", f"echo x >> {starts}", restart=False))
        look_until(supervisor, lambda: not supervisor.ready["once"])
        until = time.monotonic() + 0.5
        look_until(supervisor, lambda: time.monotonic() > until)
    assert starts.read_text() == "x\n"


def test_what_cannot_start_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    spec = shell(
        "stillborn",
        "echo no luck >&2; exit 3",
        ready=lambda: False,
        output=tmp_path / "logs" / "stillborn.log",
    )
    with (
        Supervisor() as supervisor,
        pytest.raises(Unavailable, match=r"(?s)status 3 before it was ready.*no luck"),
    ):
        supervisor.start(spec)


def test_a_start_that_stalls_is_given_up_and_one_that_advances_is_not(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    slow = shell(
        "slow",
        f"for i in 1 2 3 4 5 6 7 8; do echo $i >> {steps}; sleep 0.4; done; echo done >> {steps}; sleep 600",
        ready=lambda: steps.exists() and "done" in steps.read_text(), start_timeout=2.5,
        progress=lambda: steps.exists() and steps.stat().st_size,
    )  # fmt: skip
    with Supervisor() as supervisor:
        supervisor.start(slow)
        with pytest.raises(Unavailable, match="before it was ready"):
            supervisor.start(shell("stuck", "sleep 60", ready=lambda: False, start_timeout=0.2))


def test_what_a_dead_child_left_of_its_group_is_killed(tmp_path: Path) -> None:
    orphan = tmp_path / "orphan"
    child = Child(shell("parent", f"sleep 600 & echo $! > {orphan}; exit 0"))
    while child.poll() is None:
        time.sleep(0.01)
    stat = Path(f"/proc/{int(orphan.read_text())}/stat")
    wait_until(lambda: not stat.exists() or " Z " in stat.read_text())


def test_a_child_that_ignores_every_signal_is_killed(tmp_path: Path) -> None:
    up = tmp_path / "up"
    spec = shell(
        "deaf",
        f"trap '' TERM INT; touch {up}; while :; do sleep 0.1; done",
        stop_timeout=0.2,
        ready=up.exists,
    )
    child = Child(spec)
    child.wait_ready()
    assert child.stop() == -signal.SIGKILL


def test_children_are_started_from_the_main_thread_alone() -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            Child(shell("lost", "exit 0"))
        except RuntimeError as exc:
            caught.append(exc)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def _script(body: str) -> subprocess.Popen[str]:
    """A process of its own with a supervisor, to send signals to; prints a line when its children are up."""
    imports = (
        "from services.embedded.supervisor import Supervisor\nfrom services.embedded.process import ChildSpec"
    )
    return subprocess.Popen(
        [sys.executable, "-c", imports + "\n" + textwrap.dedent(body)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


DEAF = """
    def deaf(name, path):
        script = f"trap 'touch {path}.told' TERM INT; touch {path}; while :; do sleep 0.1; done"
        from pathlib import Path
        return ChildSpec(name=name, argv=("/bin/sh", "-c", script), ready=Path(path).exists, stop_timeout=999)
    with Supervisor() as supervisor:
        supervisor.start(deaf("deaf", PATH))
        print("up", flush=True)
        supervisor.run()
    print("gone", flush=True)
"""


def test_a_second_ctrl_c_hurries_and_the_end_is_clean_all_the_same(tmp_path: Path) -> None:
    with _script(DEAF.replace("PATH", repr(str(tmp_path / "up")))) as process:
        assert process.stdout
        while "up" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        wait_until((tmp_path / "up.told").exists)
        time.sleep(1.5 * SAME_REQUEST_SECONDS)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "gone" in process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_child_starts_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    body = f"""
    with Supervisor() as supervisor:
        script = "echo $$ > {tmp_path}/pid; exec sleep 600"
        supervisor.start(ChildSpec(name="slow", argv=("/bin/sh", "-c", script), ready=lambda: False))
        print("never reached")
    print("gone", flush=True)
    """
    with _script(body) as process:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stdout
        said = process.stdout.read()
        assert "gone" in said
        assert "never" not in said
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()
