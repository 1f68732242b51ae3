"""The rules in force outlive whatever happens to the object that holds them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.common.errors import GantryError, Unavailable, UnknownNode
from services.common.journal import StoreJournal
from services.common.keys import NODES_KEY
from services.common.model import Node
from services.common.nodes import InvalidNode, NodeRegistry, StoredNodeRules, checked_node
from tests.fakes.memory_store import MemoryStore

HOROS = Node(aet="HOROS", host="10.0.0.7", port=11112, description="reading room 2", default_issuer="KLINIK")
CT = Node(
    aet="CT 1",
    host="ct1.example.org",
    port=104,
    idle_timeout_seconds=1800,
    transfer_syntax_uids=("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1"),
)


class Scene:
    """A registry and rules on one store, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore()
        self.journal = StoreJournal(self.store)
        self.registry = NodeRegistry(self.store, self.journal)
        self.rules = StoredNodeRules(self.store, monotonic=lambda: self.now)

    def document(self) -> object:
        return json.loads(self.store.objects[NODES_KEY][0])


@pytest.fixture
def scene() -> Scene:
    return Scene()


def stale() -> float | None:
    return REGISTRY.get_sample_value("gantry_node_rules_stale")


def errors(logged: Sequence[Mapping[str, object]]) -> list[object]:
    return [line["reason"] for line in logged if line["log_level"] == "error"]


def test_a_store_without_the_object_has_no_nodes(scene: Scene) -> None:
    assert scene.rules.all() == []
    assert scene.rules.find("HOROS") is None


def test_an_added_node_is_found_with_everything_it_was_given(scene: Scene) -> None:
    scene.registry.add(HOROS)
    scene.registry.add(CT)
    assert scene.rules.all() == [CT, HOROS]
    assert scene.rules.find("CT 1") == CT


def test_spaces_at_the_ends_of_a_title_do_not_count_and_case_does(scene: Scene) -> None:
    assert scene.registry.add(Node(aet="  HOROS ", host="h", port=1)).aet == "HOROS"
    assert scene.rules.find(" HOROS  ") is not None
    assert scene.rules.find("horos") is None


def test_another_process_sees_a_change_within_the_refresh_time(scene: Scene) -> None:
    scene.registry.add(HOROS)
    assert scene.rules.find("HOROS") == HOROS
    moved = Node(aet="HOROS", host="10.0.0.8", port=104)
    scene.registry.replace(moved)
    scene.now = 9.9
    assert scene.rules.find("HOROS") == HOROS
    scene.now = 10.0
    assert scene.rules.find("HOROS") == moved


def test_another_process_finds_a_new_node_within_a_second(scene: Scene) -> None:
    assert scene.rules.find("HOROS") is None
    scene.registry.add(HOROS)
    scene.now = 0.9
    assert scene.rules.find("HOROS") is None
    scene.now = 1.0
    assert scene.rules.find("HOROS") == HOROS


def test_the_process_that_changes_sees_it_at_once(scene: Scene) -> None:
    registry = NodeRegistry(scene.store, scene.journal, on_change=scene.rules.refresh)
    assert scene.rules.find("HOROS") is None
    registry.add(HOROS)
    assert scene.rules.find("HOROS") == HOROS


def test_replace_and_remove(scene: Scene) -> None:
    scene.registry.add(HOROS)
    moved = Node(aet="HOROS", host="10.0.0.8", port=104)
    assert scene.registry.replace(moved) == moved
    scene.rules.refresh()
    assert scene.rules.find("HOROS") == moved
    scene.registry.remove(" HOROS ")
    scene.rules.refresh()
    assert scene.rules.all() == []


def test_a_title_that_is_taken_or_unknown_is_told(scene: Scene) -> None:
    scene.registry.add(HOROS)
    with pytest.raises(InvalidNode):
        scene.registry.add(HOROS)
    with pytest.raises(UnknownNode):
        scene.registry.replace(CT)
    with pytest.raises(UnknownNode):
        scene.registry.remove("CT 1")


def test_every_change_is_a_version_and_an_entry_of_the_journal(scene: Scene) -> None:
    scene.registry.add(HOROS)
    scene.registry.replace(Node(aet="HOROS", host="other", port=104))
    scene.registry.remove("HOROS")
    assert scene.document() == {"version": 3, "nodes": {}}
    entries = list(scene.journal.entries())
    assert [kind for _, kind, _ in entries] == ["node_added", "node_replaced", "node_removed"]
    assert [content["version"] for _, _, content in entries] == ["1", "2", "3"]
    assert json.loads(entries[0][2]["node"])["host"] == "10.0.0.7"


def test_the_journal_is_written_before_the_rules(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []
    create = scene.store.create

    def note(key: str) -> object:
        created.append(key)
        return create(key)

    monkeypatch.setattr(scene.store, "create", note)
    scene.registry.add(HOROS)
    assert created[0].startswith("journal/")
    assert created[1:] == [NODES_KEY]


def test_a_store_that_goes_down_leaves_the_last_rules_in_force_and_alarms_once(scene: Scene) -> None:
    scene.registry.add(HOROS)
    assert scene.rules.all() == [HOROS]
    assert stale() == 0
    scene.store.down = True
    with capture_logs() as logged:
        for turn in range(1, 4):
            scene.now = turn * 10.0
            assert scene.rules.find("HOROS") == HOROS
            assert scene.rules.find("STRANGER") is None
    assert errors(logged) == ["the store is down"]
    assert stale() == 1
    scene.store.down = False
    scene.now = 40.0
    assert scene.rules.all() == [HOROS]
    assert stale() == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version":2}', b'{"version":2,"nodes":{"A":{"aet":"A"}}}', b"\xff\xfe", None],
)
def test_rules_that_cannot_be_read_leave_the_last_ones_in_force(scene: Scene, content: bytes | None) -> None:
    scene.registry.add(HOROS)
    assert scene.rules.all() == [HOROS]
    if content is None:
        del scene.store.objects[NODES_KEY]
    else:
        scene.store.objects[NODES_KEY] = (content, {})
    scene.now = 10.0
    with capture_logs() as logged:
        assert scene.rules.all() == [HOROS]
    assert len(errors(logged)) == 1
    assert stale() == 1


def test_rules_that_could_never_be_read_allow_nothing(scene: Scene) -> None:
    scene.store.down = True
    with pytest.raises(Unavailable):
        scene.rules.find("HOROS")
    scene.store.down = False
    scene.store.objects[NODES_KEY] = (b"{", {})
    scene.now = 10.0
    with pytest.raises(Unavailable):
        scene.rules.all()


def test_a_registry_never_overwrites_what_it_cannot_read(scene: Scene) -> None:
    scene.store.objects[NODES_KEY] = (b"{ by hand", {})
    with pytest.raises(GantryError):
        scene.registry.add(HOROS)
    assert scene.store.objects[NODES_KEY] == (b"{ by hand", {})


def test_a_store_that_is_down_changes_nothing(scene: Scene) -> None:
    scene.store.down = True
    with pytest.raises(Unavailable):
        scene.registry.add(HOROS)
    scene.store.down = False
    assert scene.rules.all() == []
    assert list(scene.journal.entries()) == []


def test_one_thread_reads_while_the_others_go_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.registry.add(HOROS)
    assert scene.rules.all() == [HOROS]
    reading, go_on = threading.Event(), threading.Event()
    stat = scene.store.stat

    def slow(key: str) -> object:
        reading.set()
        assert go_on.wait(60)
        return stat(key)

    monkeypatch.setattr(scene.store, "stat", slow)
    scene.now = 10.0
    thread = threading.Thread(target=scene.rules.all)
    thread.start()
    assert reading.wait(60)
    assert scene.rules.find("HOROS") == HOROS  # not waiting for the reader
    go_on.set()
    thread.join()


@pytest.mark.parametrize(
    "aet", ["A", "A" * 16, "A B", "  A", "a-_.!", "1"],
)  # fmt: skip
def test_titles_that_are_ones(aet: str) -> None:
    assert checked_node(Node(aet=aet, host="h", port=1)).aet == aet.strip()


@pytest.mark.parametrize("aet", ["", " ", " " * 16, "A" * 17, "A\\B", "A\tB", "A\0", "Ä", "A\n"])
def test_titles_that_are_none(aet: str) -> None:
    with pytest.raises(InvalidNode, match="AE title"):
        checked_node(Node(aet=aet, host="h", port=1))


@pytest.mark.parametrize(
    "host", ["localhost", "a.b-c.example.", "10.1.2.3", "::1", "fe80::1", "ct_1", "x" * 63]
)
def test_hosts_that_are_ones(host: str) -> None:
    assert checked_node(Node(aet="A", host=host, port=1)).host == host


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "-a", "a..b", "a/b", "http://a", "a:1", "x" * 254, "a\n", "ä"]
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(InvalidNode, match="host"):
        checked_node(Node(aet="A", host=host, port=1))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"port": 0}, "port"), ({"port": 65536}, "port"), ({"port": -1}, "port"),
        ({"default_issuer": "x" * 65}, "issuer"), ({"default_issuer": "a\\b"}, "issuer"),
        ({"description": "x" * 1001}, "description"), ({"description": "a\x1b[0m"}, "description"),
        ({"associations": 0}, "associations"), ({"associations": 17}, "associations"),
        ({"idle_timeout_seconds": -1}, "idle"), ({"idle_timeout_seconds": 0}, "idle"),
        ({"transfer_syntax_uids": ("1.2.x",)}, "UID"), ({"transfer_syntax_uids": ("",)}, "UID"),
    ],
)  # fmt: skip
def test_other_attributes_are_checked(changes: dict[str, object], fault: str) -> None:
    values: dict[str, object] = {"aet": "A", "host": "h", "port": 1, **changes}
    with pytest.raises(InvalidNode, match=fault):
        checked_node(Node(**values))  # type: ignore[arg-type]
