"""The sender against nodes that abort, refuse, take one transfer syntax, or allow several associations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from services.common.dimse.acceptor import AcceptedContext, AssociationLost, Command
from services.common.dimse.lane import Ending
from services.common.dimse.requestor import associate
from services.common.errors import InvalidInstance
from services.common.model import Location, Node
from services.common.sending import Ended, Result, Sender
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import EXPLICIT, located
from tests.integration.query_archive import TakesOnly
from tests.unit.common.test_retrieval import MemoryConverter
from tests.waiting import PATIENCE_SECONDS

IMPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"


def uid(number: int) -> str:
    return f"1.2.3.{number}"


@dataclass
class Aborting(MemoryArchive):
    """A node that aborts its association where `aborts` says so of a SOP Instance UID and its attempt."""

    aborts: Callable[[str, int], bool] = lambda uid, attempt: False
    attempts: dict[str, int] = field(default_factory=dict)

    def begin(self, association: Any, command: Command, context: AcceptedContext) -> Any:
        attempt = self.attempts[command.sop_instance_uid] = self.attempts.get(command.sop_instance_uid, 0) + 1
        if self.aborts(command.sop_instance_uid, attempt):
            association.dialogue.lane.abort()
            raise AssociationLost("it aborts", Ending.ABORTED_BY_PEER)
        return super().begin(association, command, context)

    @property
    def uids(self) -> list[str]:
        """What it has stored, in that order."""
        return [stored.command.sop_instance_uid for stored in self.stored]


@contextmanager
def sending_to(
    archive: MemoryArchive, store: MemoryStore, *, associations: int = 1, policy: object = None
) -> Iterator[Sender]:
    with listening(archive.handlers, policy=policy) as running:
        yield Sender(
            node=Node(aet="THERE", host="127.0.0.1", port=running.port, associations=associations),
            store=store,
            converter=MemoryConverter(),
            associate=partial(associate, own_aet="GANTRY"),
        )


def sent(sender: Sender, locations: Sequence[Location]) -> list[Ended]:
    ended = [one for one in sender.send(locations) if one is not None]
    assert sorted(one.location.key.sop_instance_uid for one in ended) == sorted(
        location.key.sop_instance_uid for location in locations
    )
    return ended


def failures(ended: Sequence[Ended]) -> list[str]:
    return [one.location.key.sop_instance_uid for one in ended if one.result is Result.FAILED]


@pytest.mark.parametrize("associations", [1, 3])
@pytest.mark.parametrize("size", [10, 3_000_001])
def test_everything_arrives_as_it_is(associations: int, size: int) -> None:
    store, archive = MemoryStore(), MemoryArchive()
    contents = {uid(n): bytes([n]) * (size + n % 2) for n in range(12)}
    locations = [located(store, n, contents[uid(n)]) for n in range(12)]
    with sending_to(archive, store, associations=associations) as sender:
        ended = sent(sender, locations)
    assert {one.result for one in ended} == {Result.COMPLETED}
    assert {stored.command.sop_instance_uid: bytes(stored.data) for stored in archive.stored} == contents
    if associations == 1:
        assert [stored.command.sop_instance_uid for stored in archive.stored] == list(contents)


@pytest.mark.parametrize("associations", [1, 2])
def test_instances_at_which_the_node_always_aborts_fail_alone(associations: int) -> None:
    store = MemoryStore()
    archive = Aborting(aborts=lambda sop, _: sop in (uid(3), uid(4), uid(9)))
    with sending_to(archive, store, associations=associations) as sender:
        ended = sent(sender, [located(store, n) for n in range(12)])
    assert sorted(failures(ended)) == [uid(3), uid(4), uid(9)]
    assert sorted(archive.uids) == sorted(uid(n) for n in range(12) if n not in (3, 4, 9))
    assert {archive.attempts[uid(n)] for n in (3, 4, 9)} == {2}
    assert all("aborted" in one.detail for one in ended if one.result is Result.FAILED)


def test_an_abort_that_does_not_come_again_costs_nothing() -> None:
    store = MemoryStore()
    archive = Aborting(aborts=lambda sop, attempt: attempt == 1)
    with sending_to(archive, store) as sender:
        ended = sent(sender, [located(store, n) for n in range(8)])
    assert (failures(ended), archive.uids) == ([], [uid(n) for n in range(8)])


def test_a_node_that_aborts_at_three_instances_in_a_row_gets_no_more() -> None:
    store = MemoryStore()
    archive = Aborting(aborts=lambda sop, _: sop in (uid(2), uid(4), uid(5), uid(6)))
    with sending_to(archive, store) as sender:
        ended = sent(sender, [located(store, n) for n in range(10)])
    assert archive.uids == [uid(0), uid(1), uid(3)]
    assert failures(ended) == [uid(n) for n in (2, 4, 5, 6, 7, 8, 9)]
    assert uid(7) not in archive.attempts


def test_a_refused_instance_leaves_the_association_as_it_is() -> None:
    store = MemoryStore()
    archive = MemoryArchive(
        refuse_store=lambda command: InvalidInstance("odd") if command.sop_instance_uid == uid(1) else None
    )
    with sending_to(archive, store) as sender:
        ended = sent(sender, [located(store, n) for n in range(4)])
    (failure,) = [one for one in ended if one.result is Result.FAILED]
    assert (failure.location.key.sop_instance_uid, failure.reason) == (uid(1), "C000")
    assert "odd" in failure.detail
    assert len({info.peer_address for info in archive.associations}) == 1


def test_a_node_that_takes_one_syntax_alone_gets_everything_in_it() -> None:
    store, archive = MemoryStore(), MemoryArchive()
    locations = [
        located(store, n, transfer_syntax_uid=syntax) for n, syntax in enumerate((EXPLICIT, IMPLICIT, JPEG))
    ]
    with sending_to(archive, store, policy=TakesOnly((IMPLICIT,))) as sender:
        assert failures(sent(sender, locations)) == []
    assert {stored.context.transfer_syntax for stored in archive.stored} == {IMPLICIT}


def test_more_pairs_of_class_and_syntax_than_an_association_proposes_go_over_several() -> None:
    store, archive = MemoryStore(), MemoryArchive()
    locations = [
        located(store, n, sop_class_uid=f"1.2.{n % 90}", transfer_syntax_uid=JPEG) for n in range(180)
    ]
    with sending_to(archive, store) as sender:
        assert failures(sent(sender, locations)) == []
    assert len(archive.stored) == 180
    assert max(len(info.requested) for info in archive.associations) == 128
    assert len({info.peer_address for info in archive.associations}) == 2


def test_several_associations_send_at_the_same_time() -> None:
    store = MemoryStore()
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS / 2)

    class Together(MemoryArchive):
        def begin(self, association: Any, command: Command, context: AcceptedContext) -> Any:
            if association.info not in self.associations:
                together.wait()
            return super().begin(association, command, context)

    archive = Together()
    with sending_to(archive, store, associations=3) as sender:
        assert failures(sent(sender, [located(store, n) for n in range(9)])) == []
    assert len({info.peer_address for info in archive.associations}) == 3


def test_after_a_stop_nothing_else_begins() -> None:
    store, archive = MemoryStore(), MemoryArchive()
    stop = threading.Event()
    ended = []
    with sending_to(archive, store) as sender:
        for one in sender.send([located(store, n) for n in range(20)], stop=stop):
            ended.append(one)
            stop.set()
    assert len(ended) == len(archive.stored) <= 2


def test_closing_ends_what_runs_and_leaves_no_thread() -> None:
    store, archive = MemoryStore(), MemoryArchive()
    with sending_to(archive, store, associations=2) as sender:
        sending = sender.send([located(store, n) for n in range(20)])
        assert next(sending) is not None
        sending.close()
    assert not any(thread.name.startswith(("sending", "retrieval")) for thread in threading.enumerate())


def test_an_original_that_is_gone_fails_alone() -> None:
    store, archive = MemoryStore(), MemoryArchive()
    locations = [located(store, n) for n in range(4)]
    del store.objects["originals/2"]
    with sending_to(archive, store) as sender:
        assert failures(sent(sender, locations)) == [uid(2)]
    assert len({info.peer_address for info in archive.associations}) == 1


def test_a_foreign_error_is_not_swallowed() -> None:
    class Broken(MemoryConverter):
        def convert(self, location: Location, transfer_syntax_uid: str) -> Any:
            raise ZeroDivisionError

    store, archive = MemoryStore(), MemoryArchive()
    with listening(archive.handlers, policy=TakesOnly((IMPLICIT,))) as running:
        sender = Sender(
            node=replace(Node(aet="THERE", host="127.0.0.1", port=running.port)),
            store=store,
            converter=Broken(),
            associate=partial(associate, own_aet="GANTRY"),
        )
        with pytest.raises(ZeroDivisionError):
            list(sender.send([located(store, 1)]))
