"""Which form of an instance goes to which receiver, and what happens where there is none."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator, Sequence

import pytest

from services.common.errors import NotAcceptable
from services.common.model import BlobRef, Location
from services.common.ports import Buffer, EncodedDataSet
from services.common.retrieval import ANY, Outgoing, ReadAhead, best_form, open_instances
from services.common.retrieval.blocks import BLOCK_BYTES, Blocks
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import CT, EXPLICIT, JPEG2000, located
from tests.waiting import PATIENCE_SECONDS

IMPLICIT = "1.2.840.10008.1.2"
JPEG2000_ANY = "1.2.840.10008.1.2.4.91"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


class MemoryConverter:
    """Says what it was asked for in place of pixels."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.open = 0

    def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
        if self.error is not None:
            raise self.error
        content = f"{location.key.sop_instance_uid} as {transfer_syntax_uid}".encode()
        return EncodedDataSet(length=len(content), pieces=self._pieces(content))

    def _pieces(self, content: bytes) -> Generator[Buffer, None, None]:
        self.open += 1
        try:
            yield content[:5]
            yield content[5:]
        finally:
            self.open -= 1


def given(
    locations: Sequence[Location],
    accepted: Sequence[str],
    store: MemoryStore,
    converter: MemoryConverter | None = None,
) -> list[tuple[str, bytes | str]]:
    """Transfer syntax and bytes, or the kind of error, of each instance."""
    return [
        ("", type(outgoing.error).__name__)
        if outgoing.error
        else (outgoing.transfer_syntax_uid, read(outgoing))
        for outgoing in open_instances(
            locations, lambda sop_class: accepted, store, converter or MemoryConverter()
        )
    ]


def read(outgoing: Outgoing) -> bytes:
    content = b"".join(bytes(chunk) for chunk in outgoing.chunks)
    assert len(content) == outgoing.length
    return content


@pytest.mark.parametrize(
    ("stored", "has_rendition", "accepted", "syntax", "form"),
    [
        (EXPLICIT, True, ANY, EXPLICIT, "original"),
        (JPEG, False, ANY, JPEG, "original"),
        (EXPLICIT, True, (EXPLICIT, IMPLICIT), EXPLICIT, "original"),
        (IMPLICIT, False, (EXPLICIT, IMPLICIT), IMPLICIT, "original"),
        (IMPLICIT, False, (EXPLICIT,), EXPLICIT, "converted"),
        (EXPLICIT, False, (IMPLICIT,), IMPLICIT, "converted"),
        (BIG_ENDIAN, False, (IMPLICIT, EXPLICIT), IMPLICIT, "converted"),
        (EXPLICIT, True, (EXPLICIT, JPEG2000), EXPLICIT, "original"),
        (EXPLICIT, True, (JPEG2000, EXPLICIT), JPEG2000, "rendition"),
        (EXPLICIT, True, (JPEG2000,), JPEG2000, "rendition"),
        (EXPLICIT, True, (JPEG2000_ANY,), JPEG2000_ANY, "rendition"),
        (EXPLICIT, False, (JPEG2000, EXPLICIT), EXPLICIT, "original"),
        (JPEG2000, False, (EXPLICIT, JPEG2000), JPEG2000, "original"),
        (JPEG2000, False, (EXPLICIT,), EXPLICIT, "converted"),
        (JPEG2000, False, (JPEG2000_ANY,), JPEG2000_ANY, "original"),
        (JPEG2000_ANY, False, (JPEG2000, EXPLICIT), EXPLICIT, "converted"),
        (JPEG2000_ANY, True, (JPEG2000, JPEG2000_ANY), JPEG2000_ANY, "original"),
        (JPEG2000_ANY, True, (JPEG2000,), JPEG2000, "rendition"),
        (JPEG, False, (EXPLICIT, JPEG), JPEG, "original"),
        (RLE, True, (EXPLICIT, JPEG2000), JPEG2000, "rendition"),
        (RLE, True, (IMPLICIT,), IMPLICIT, "converted"),
    ],
)
def test_best_form(
    stored: str, has_rendition: bool, accepted: tuple[str, ...], syntax: str, form: str
) -> None:
    store = MemoryStore()
    location = located(
        store, 1, b"original", transfer_syntax_uid=stored, jpeg2000=b"rendition" if has_rendition else None
    )
    expected = {
        "original": b"original",
        "rendition": b"rendition",
        "converted": f"1.2.3.1 as {syntax}".encode(),
    }
    assert given([location], accepted, store) == [(syntax, expected[form])]


@pytest.mark.parametrize("accepted", [(), (JPEG,), (JPEG2000,)])
def test_what_the_receiver_takes_in_no_form_is_not_acceptable(accepted: tuple[str, ...]) -> None:
    store = MemoryStore()
    with pytest.raises(NotAcceptable):
        best_form(located(store, 1), accepted)
    assert given([located(store, 1)], accepted, store) == [("", "NotAcceptable")]


def test_one_bad_instance_does_not_hurt_its_neighbours() -> None:
    store = MemoryStore()
    locations = [located(store, number) for number in range(5)]
    del store.objects["originals/1"]
    store.objects["originals/3"] = (b"short", {})
    assert given(locations, (EXPLICIT,), store) == [
        (EXPLICIT, b"data set 0"),
        ("", "BlobMissing"),
        (EXPLICIT, b"data set 2"),
        ("", "BlobMissing"),
        (EXPLICIT, b"data set 4"),
    ]


def test_a_codec_that_refuses_is_an_error_of_its_instance() -> None:
    store = MemoryStore()
    locations = [located(store, 1, transfer_syntax_uid=JPEG), located(store, 2)]
    converter = MemoryConverter(NotAcceptable("broken"))
    assert given(locations, (EXPLICIT,), store, converter) == [
        ("", "NotAcceptable"),
        (EXPLICIT, b"data set 2"),
    ]


def test_a_store_that_is_down_fails_each_instance() -> None:
    store = MemoryStore()
    locations = [located(store, number) for number in range(2)]
    store.down = True
    assert given(locations, (EXPLICIT,), store) == [("", "Unavailable")] * 2


def test_where_a_rendition_is_lost_the_original_serves() -> None:
    store = MemoryStore()
    locations = [located(store, 1, jpeg2000=b"rendition"), located(store, 2, jpeg2000=b"rendition")]
    del store.objects["renditions/1"]
    assert given(locations, (JPEG2000, EXPLICIT), store) == [
        (EXPLICIT, b"data set 1"),
        (JPEG2000, b"rendition"),
    ]
    assert given(locations[:1], (JPEG2000,), store) == [("", "BlobMissing")]


def test_what_is_accepted_depends_on_the_sop_class() -> None:
    store = MemoryStore()
    locations = [located(store, 1), located(store, 2, sop_class_uid="1.9")]
    opened = open_instances(
        locations, lambda sop_class: (EXPLICIT,) if sop_class == CT else (), store, MemoryConverter()
    )
    assert [type(outgoing.error).__name__ for outgoing in opened] == ["NoneType", "NotAcceptable"]


def test_large_data_sets_come_in_pieces() -> None:
    store = MemoryStore()
    content = bytes(range(256)) * 20_000
    (outgoing,) = (
        [bytes(chunk) for chunk in outgoing.chunks]
        for outgoing in open_instances(
            [located(store, 1, content)], lambda sop_class: ANY, store, MemoryConverter()
        )
    )
    assert b"".join(outgoing) == content
    assert max(map(len, outgoing)) <= 256 * 1024


def test_only_a_few_are_read_ahead_and_none_stays_open() -> None:
    store = MemoryStore()
    converter = MemoryConverter()
    taken: list[int] = []

    def locations() -> Generator[Location, None, None]:
        for number in range(100):
            taken.append(number)
            yield located(store, number, transfer_syntax_uid=JPEG)

    opened = open_instances(locations(), lambda sop_class: (EXPLICIT,), store, converter, ahead=2)
    for _ in range(3):
        next(opened)
    assert len(taken) <= 6
    opened.close()
    assert converter.open == 0
    assert not any(thread.name.startswith("retrieval") for thread in threading.enumerate())


def test_foreign_errors_are_not_swallowed() -> None:
    store = MemoryStore()
    locations = [located(store, number, transfer_syntax_uid=JPEG) for number in range(4)]
    with pytest.raises(ZeroDivisionError):
        given(locations, (EXPLICIT,), store, MemoryConverter(ZeroDivisionError()))


def test_instances_are_opened_at_the_same_time() -> None:
    """So the latency of a distant store is paid once for several."""
    together = threading.Barrier(4, timeout=PATIENCE_SECONDS / 2)

    class Distant(MemoryStore):
        def open(self, ref: BlobRef) -> io.RawIOBase:
            together.wait()
            return super().open(ref)

    store = Distant()
    locations = [located(store, number) for number in range(8)]
    assert given(locations, (EXPLICIT,), store) == [(EXPLICIT, f"data set {n}".encode()) for n in range(8)]


def test_without_memory_each_instance_waits_for_its_turn() -> None:
    opened: list[str] = []

    class Watched(MemoryStore):
        def open(self, ref: BlobRef) -> io.RawIOBase:
            opened.append(ref.key)
            return super().open(ref)

    store = Watched()
    content = bytes(range(256)) * (5 * BLOCK_BYTES // 256)
    locations = [located(store, number, content) for number in range(3)]
    with ReadAhead(
        locations, lambda sop_class: ANY, store, MemoryConverter(), memory=Blocks(0), reuse=True
    ) as ahead:
        for number, outgoing in enumerate(ahead):
            assert len(opened) == number + 1
            assert read(outgoing) == content


def test_memory_comes_back_whatever_happens() -> None:
    memory = Blocks(8)
    store = MemoryStore()
    locations = [located(store, number, bytes(3 * BLOCK_BYTES)) for number in range(6)]
    del store.objects["originals/1"]
    for count in (0, 1, 3, 6):
        ahead = ReadAhead(locations, lambda _: ANY, store, MemoryConverter(), memory=memory, reuse=True)
        for _ in range(count):
            next(next(ahead).chunks, None)
        ahead.close()
        assert memory.reserve(8)
        memory.release(8)


def test_a_conversion_that_cannot_be_read_to_its_end_waits_for_its_turn() -> None:
    """It would keep a codec process from those whose turn it is."""
    store = MemoryStore()

    class Long(MemoryConverter):
        begun = 0

        def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
            return EncodedDataSet(length=40 * 2**20, pieces=self._long())

        def _long(self) -> Generator[Buffer, None, None]:
            self.begun += 1
            for _ in range(40):
                yield bytes(2**20)

    converter = Long()
    locations = [located(store, number, transfer_syntax_uid=JPEG) for number in range(3)]
    with ReadAhead(locations, lambda sop_class: (EXPLICIT,), store, converter) as ahead:
        for number, outgoing in enumerate(ahead):
            assert converter.begun == number + 1
            assert sum(map(len, outgoing.chunks)) == outgoing.length


@pytest.mark.parametrize("memory", [Blocks(0), Blocks(64)])
def test_a_conversion_that_breaks_behind_its_header_is_told_before_it_is_begun(memory: Blocks) -> None:
    class Breaking(MemoryConverter):
        def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
            return EncodedDataSet(length=2**24, pieces=self._breaking())

        def _breaking(self) -> Generator[Buffer, None, None]:
            yield b"header"
            raise NotAcceptable("broken")

    store = MemoryStore()
    locations = [located(store, number, transfer_syntax_uid=JPEG) for number in range(3)]
    with ReadAhead(locations, lambda _: (EXPLICIT,), store, Breaking(), memory=memory) as ahead:
        assert [type(outgoing.error) for outgoing in ahead] == [NotAcceptable] * 3
