"""C-MOVE and C-GET: counts, statuses, cancel, and a destination that dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from services.common.dimse.handlers import Response, StoreOutcome
from services.common.dimse.lane import AssociationLost, Ending
from services.common.dimse.messages import Command, CommandField
from services.common.dimse.negotiation import AcceptedContext, AssociationInfo
from services.common.dimse.requestor import ProposedContext
from services.common.errors import InvalidQuery, Unavailable, UnknownNode
from services.common.model import Location, Node
from services.common.ports import Buffer, EncodedDataSet
from services.common.sending import Ended, Result, failed
from services.qr.handlers import RetrievalHandler
from services.qr.progress import Progress
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import CT, EXPLICIT, ScriptedCatalog, located
from tests.unit.common.test_retrieval import MemoryConverter
from tests.unit.qr.encoded import decode, identifier

STUDY_ROOT_MOVE, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
MR = "1.2.840.10008.5.1.4.1.1.4"
STUDY = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")


@dataclass
class Peer:
    """Both ends that can be stored at: the association of a C-GET, and that to a move destination."""

    accepts: Sequence[str] = (CT,)
    status: Callable[[str], int] = lambda uid: 0x0000
    lost_before: Callable[[str, int], bool] = lambda uid, association: False
    before_store: Callable[[], None] = lambda: None
    connects: Callable[[int], bool] = lambda association: True
    received: dict[str, bytes] = field(default_factory=dict)
    originators: set[tuple[str | None, int | None, int]] = field(default_factory=set)
    associations: int = 0
    released: int = 0
    is_over: bool = False

    @property
    def info(self) -> AssociationInfo:
        contexts = {
            2 * n + 1: AcceptedContext(context_id=2 * n + 1, abstract_syntax=uid, transfer_syntax=EXPLICIT)
            for n, uid in enumerate(self.accepts)
        }
        return AssociationInfo(
            calling_aet="VIEWER", called_aet="GANTRY", peer_address=("127.0.0.1", 1), contexts=contexts
        )

    def associate(self, node: Node, contexts: Sequence[ProposedContext]) -> Peer:
        self.associations += 1
        if not self.connects(self.associations):
            raise Unavailable("nobody is there")
        self.is_over = False
        return self

    def store(
        self,
        *,
        context: AcceptedContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        chunks: Iterable[Buffer],
        length: int,
        priority: int = 0,
        move_originator_aet: str | None = None,
        move_originator_message_id: int | None = None,
    ) -> StoreOutcome:
        self.before_store()
        if self.lost_before(sop_instance_uid, self.associations):
            self.is_over = True
            raise AssociationLost("it died", Ending.ABORTED_BY_PEER)
        assert context.abstract_syntax == sop_class_uid
        content = b"".join(bytes(chunk) for chunk in chunks)
        assert len(content) == length
        self.originators.add((move_originator_aet, move_originator_message_id, priority))
        self.received[sop_instance_uid] = content
        return StoreOutcome(status=self.status(sop_instance_uid))

    def release(self) -> None:
        self.released += 1


class Nodes:
    """One known node."""

    def find(self, aet: str) -> Node | None:
        return Node(aet="ARCHIVE", host="127.0.0.1", port=1) if aet == "ARCHIVE" else None

    def all(self) -> Sequence[Node]:
        return []


def retrieve(
    service: str,
    peer: Peer,
    locations: Sequence[Location],
    store: MemoryStore,
    *,
    raw: bytes = STUDY,
    destination: str = "ARCHIVE",
    cancel_after: int | None = None,
    converter: MemoryConverter | None = None,
    heartbeat: float = 60.0,
) -> list[Response]:
    responses: list[Response] = []
    handler = RetrievalHandler(
        catalog=ScriptedCatalog(locations=locations),
        store=store,
        converter=converter or MemoryConverter(),
        nodes=Nodes(),
        associate=peer.associate,  # type: ignore[arg-type]
        pending_seconds=0.0,
        heartbeat_seconds=heartbeat,
    )
    command = Command(
        command_field=CommandField.C_MOVE_RQ, message_id=77, priority=1, move_destination=destination
    )
    sop_class = STUDY_ROOT_MOVE if service == "move" else STUDY_ROOT_GET
    context = AcceptedContext(context_id=1, abstract_syntax=sop_class, transfer_syntax=EXPLICIT)
    for response in getattr(handler, service)(
        peer, command, context, raw, lambda: cancel_after is not None and len(responses) >= cancel_after
    ):
        responses.append(response)
    for response in responses[:-1]:
        assert response.status == 0xFF00
        assert sum(counts(response)) == len(locations)
    return responses


def counts(response: Response) -> tuple[int, int, int, int]:
    return (
        response.remaining or 0,
        response.completed or 0,
        response.failed or 0,
        response.warning or 0,
    )


def failed_uids(response: Response) -> list[str]:
    assert response.identifier is not None
    value = decode(response.identifier).FailedSOPInstanceUIDList
    if isinstance(value, bytes):  # more than 64 KiB are UN in explicit VR (PS3.5 6.2.2)
        return value.rstrip(b"\0").decode().split("\\")
    return [value] if isinstance(value, str) else list(value)


both = pytest.mark.parametrize("service", ["move", "get"])


@both
def test_all_well(service: str) -> None:
    store, peer = MemoryStore(), Peer()
    responses = retrieve(service, peer, [located(store, n) for n in range(4)], store)
    assert [counts(response) for response in responses] == [
        (3, 1, 0, 0),
        (2, 2, 0, 0),
        (1, 3, 0, 0),
        (0, 4, 0, 0),
        (0, 4, 0, 0),
    ]
    assert (responses[-1].status, responses[-1].identifier) == (0x0000, None)
    assert responses[-1].remaining is None
    assert list(peer.received.values()) == [f"data set {n}".encode() for n in range(4)]


@both
def test_nothing_found_is_success_and_zeros(service: str) -> None:
    (last,) = retrieve(service, Peer(), [], MemoryStore())
    assert (last.status, last.completed, last.failed, last.warning) == (0x0000, 0, 0, 0)


@both
def test_a_class_that_the_receiver_does_not_take_fails_and_the_rest_goes(service: str) -> None:
    store = MemoryStore()
    locations = [located(store, 1, sop_class_uid=MR), located(store, 2), located(store, 3, sop_class_uid=MR)]
    last = retrieve(service, Peer(), locations, store)[-1]
    assert (last.status, counts(last)) == (0xB000, (0, 1, 2, 0))
    assert failed_uids(last) == ["1.2.3.1", "1.2.3.3"]


@both
def test_all_failed(service: str) -> None:
    store = MemoryStore()
    locations = [located(store, n) for n in range(3)]
    store.down = True
    last = retrieve(service, Peer(), locations, store)[-1]
    assert (last.status, counts(last)) == (0xA702, (0, 0, 3, 0))
    assert len(failed_uids(last)) == 3


@both
def test_what_the_receiver_answers_is_counted(service: str) -> None:
    store = MemoryStore()
    answers = {"1.2.3.0": 0x0000, "1.2.3.1": 0xB000, "1.2.3.2": 0xA700}
    peer = Peer(status=lambda uid: answers[uid])
    last = retrieve(service, peer, [located(store, n) for n in range(3)], store)[-1]
    assert (last.status, counts(last)) == (0xB000, (0, 1, 1, 1))
    assert failed_uids(last) == ["1.2.3.2"]


@both
def test_a_cancel_stops_within_one_sub_operation(service: str) -> None:
    store, peer = MemoryStore(), Peer()
    responses = retrieve(service, peer, [located(store, n) for n in range(9)], store, cancel_after=2)
    assert responses[-1].status == 0xFE00
    done = len(peer.received)
    assert done <= 3
    assert counts(responses[-1]) == (9 - done, done, 0, 0)


def test_more_than_65535_instances_are_counted() -> None:
    progress = Progress(total=140_000, transfer_syntax_uid=EXPLICIT)
    location = located(MemoryStore(), 1)
    for _ in range(70_000):
        progress.count(Ended(location=location, result=Result.COMPLETED))
        progress.count(failed(location, "lost"))
    assert counts(progress.cancelled()) == (0, 70_000, 70_000, 0)
    assert failed_uids(progress.final()) == ["1.2.3.1"] * 70_000


@both
def test_an_identifier_without_its_key_is_refused(service: str) -> None:
    raw = identifier(QueryRetrieveLevel="STUDY", PatientID="P1")
    with pytest.raises(InvalidQuery):
        retrieve(service, Peer(), [], MemoryStore(), raw=raw)


def test_unknown_destination() -> None:
    with pytest.raises(UnknownNode):
        retrieve("move", Peer(), [], MemoryStore(), destination="NOBODY")


def test_the_originator_of_a_move_is_the_requester() -> None:
    store, peer = MemoryStore(), Peer()
    retrieve("move", peer, [located(store, 1)], store)
    assert peer.originators == {("VIEWER", 77, 1)}
    assert (peer.associations, peer.released) == (1, 1)


def test_a_destination_that_dies_once_is_connected_to_again() -> None:
    store = MemoryStore()
    peer = Peer(lost_before=lambda uid, association: uid == "1.2.3.2" and association == 1)
    last = retrieve("move", peer, [located(store, n) for n in range(5)], store)[-1]
    assert (last.status, counts(last), peer.associations) == (0x0000, (0, 5, 0, 0), 2)


def test_an_instance_at_which_the_destination_always_dies_fails_alone() -> None:
    store = MemoryStore()
    peer = Peer(lost_before=lambda uid, association: uid == "1.2.3.2")
    last = retrieve("move", peer, [located(store, n) for n in range(5)], store)[-1]
    assert (last.status, counts(last), peer.associations) == (0xB000, (0, 4, 1, 0), 3)
    assert failed_uids(last) == ["1.2.3.2"]


def test_a_destination_that_dies_at_three_instances_in_a_row_is_given_up() -> None:
    store = MemoryStore()
    peer = Peer(lost_before=lambda uid, association: uid != "1.2.3.0")
    last = retrieve("move", peer, [located(store, n) for n in range(9)], store)[-1]
    assert (last.status, counts(last), peer.associations) == (0xB000, (0, 1, 8, 0), 6)
    assert failed_uids(last) == [f"1.2.3.{n}" for n in range(1, 9)]


def test_a_destination_that_takes_nothing_at_all_is_given_up() -> None:
    store = MemoryStore()
    peer = Peer(lost_before=lambda uid, association: True)
    last = retrieve("move", peer, [located(store, n) for n in range(5)], store)[-1]
    assert (last.status, counts(last)) == (0xA702, (0, 0, 5, 0))
    assert failed_uids(last) == [f"1.2.3.{n}" for n in range(5)]


def test_a_destination_that_is_not_there_fails_all() -> None:
    store = MemoryStore()
    peer = Peer(connects=lambda association: False)
    last = retrieve("move", peer, [located(store, n) for n in range(3)], store)[-1]
    assert (last.status, counts(last), peer.associations) == (0xA702, (0, 0, 3, 0), 1)


def test_a_slow_sub_operation_is_not_silence() -> None:
    release = threading.Event()
    store = MemoryStore()
    peer = Peer(before_store=lambda: release.wait(60) and None)
    timer = threading.Timer(0.2, release.set)
    timer.start()
    responses = retrieve("move", peer, [located(store, n) for n in range(2)], store, heartbeat=0.02)
    timer.join()
    assert len([response for response in responses if counts(response) == (2, 0, 0, 0)]) >= 2
    assert (responses[-1].status, responses[-1].completed) == (0x0000, 2)


def test_a_slow_conversion_is_not_silence_in_a_get(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    converter = MemoryConverter()
    convert = converter.convert

    def slowly(location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
        threading.Event().wait(0.2)
        return convert(location, transfer_syntax_uid)

    monkeypatch.setattr(converter, "convert", slowly)
    locations = [located(store, 1, transfer_syntax_uid="1.2.840.10008.1.2")]
    responses = retrieve("get", Peer(), locations, store, converter=converter, heartbeat=0.02)
    assert len([response for response in responses if counts(response) == (1, 0, 0, 0)]) >= 2
    assert responses[-1].completed == 1


def test_a_peer_that_goes_during_a_get_ends_it() -> None:
    store = MemoryStore()
    peer = Peer(lost_before=lambda uid, association: uid == "1.2.3.1")
    with pytest.raises(AssociationLost):
        retrieve("get", peer, [located(store, n) for n in range(3)], store)
    assert not any(thread.name.startswith("retrieval") for thread in threading.enumerate())
