"""The rows name peers that there are, and are chosen as the command line says."""

from __future__ import annotations

import pytest

from bench.memory import service_of
from bench.multipart import bodies
from bench.peers.orthanc import without_comments
from bench.plan import PEERS
from bench.rows import COLUMNS, ROWS, chosen


def test_every_column_of_every_row_is_a_known_peer_or_empty() -> None:
    for row in ROWS:
        assert len(row.peers) == len(COLUMNS)
        assert {peer for peer in row.peers if peer} <= PEERS.keys()
        assert {aim.against for aim in row.aims} <= set(row.peers)


def test_rows_have_names_of_their_own() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_rows_are_chosen_by_name_and_in_order() -> None:
    assert [row.key for row in chosen("get, store", quick=True)] == ["get", "store"]


def test_a_quick_look_leaves_out_what_takes_long_unless_it_is_named() -> None:
    assert "memory" not in [row.key for row in chosen("", quick=True)]
    assert "memory" in [row.key for row in chosen("", quick=False)]
    assert [row.key for row in chosen("memory", quick=True)] == ["memory"]


def test_an_unknown_row_is_an_error() -> None:
    with pytest.raises(KeyError):
        chosen("nothing", quick=False)


@pytest.mark.parametrize(
    ("command", "service"),
    [
        ("/x/python3 -m services.cli index", "index"),
        ("/x/python3 -m services.cli listen --fd 9", "dicom"),
        ("/x/python3 -P -m services.common.pixels.worker 3 4", "codec"),
        ("/x/pginstall18/bin/postgres -D /y", "PostgreSQL"),
        ("postgres: gantry gantry [local] idle", "PostgreSQL"),
        ("/usr/bin/redis-server unixsocket:/x", "Redis"),
        ("/x/bin/python /x/bin/gantry up", "supervisor"),
        ("/bin/sh", ""),
    ],
)
def test_a_process_belongs_to_a_service(command: str, service: str) -> None:
    assert service_of(command) == service


def test_the_parts_of_a_multipart_answer_are_found_whole() -> None:
    answer = b"\r\n--b\r\nContent-Type: x\r\n\r\none\r\n\r\n--b\r\nContent-Type: x\r\n\r\n--two\r\n--b--\r\n"
    assert list(bodies(answer)) == [b"one\r\n", b"--two"]


def test_an_answer_that_was_cut_short_has_no_last_part() -> None:
    assert list(bodies(b"--b\r\nA: x\r\n\r\none\r\n--b\r\nA: x\r\n\r\ntw")) == [b"one"]


def test_comments_go_and_strings_stay() -> None:
    text = '{ /* a "b" */ "url" : "http://x/*y*/", // c\n "n" : 1 }'
    assert without_comments(text) == '{   "url" : "http://x/*y*/",  \n "n" : 1 }'
