"""The catalog's reader on a real PostgreSQL: what matches, in which order, and what comes with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.adapters.postgres import Postgres
from services.common.attributes import BY_KEYWORD
from services.common.catalog.migrate import migrate
from services.common.catalog.reader import PostgresCatalogReader
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.errors import InvalidQuery
from services.common.matching import condition
from services.common.model import BlobRef, InstanceRecord, Level, Recipe, Rendition, RenditionKind
from services.common.query import Condition, Query, Selection
from tests.fakes.made_records import record
from tests.servers import TestPostgres

CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))
_STUDIES: dict[str, dict[str, str]] = {
    "1.1": {
        "PatientID": "P1", "PatientName": "Doe^John", "PatientBirthDate": "19700101", "PatientSex": "M",
        "StudyDate": "20240101", "StudyTime": "103015.123", "AccessionNumber": "A%1",
        "StudyDescription": "Head", "ReferringPhysicianName": "Who^Doctor",
    },
    "1.2": {
        "PatientID": "P2", "PatientName": "DOE^JOHN^M", "StudyDate": "20240131", "StudyTime": "10",
        "AccessionNumber": "A_1", "StudyDescription": "head",
    },
    "1.3": {
        "PatientID": "P3", "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "StudyDate": "20240201",
        "StudyTime": "10:30", "AccessionNumber": "A\\1",
    },
    "1.4": {
        "PatientID": "P4", "PatientName": "Müller^Jürgen", "StudyDate": "20231231", "StudyTime": "235959",
        "AccessionNumber": "AX1",
    },
    "1.5": {"PatientID": "p1", "PatientName": "Doe"},
}  # fmt: skip
_SERIES: dict[str, tuple[str, str, dict[str, str]]] = {
    "1.1.1": ("1.1", CT, {"Modality": "CT", "SeriesNumber": "10", "BodyPartExamined": "HEAD"}),
    "1.1.2": ("1.1", PT, {"Modality": "PT", "SeriesNumber": "2", "BodyPartExamined": "LEG"}),
    "1.2.1": ("1.2", MR, {"Modality": "MR", "SeriesNumber": "03",
                          "PerformingPhysicianName": "One^Dr\\Two^Dr"}),
    "1.3.1": ("1.3", CT, {"Modality": "CT"}),
    "1.4.1": ("1.4", CT, {"Modality": "SR"}),
    "1.5.1": ("1.5", CT, {}),
}  # fmt: skip


def _records() -> list[InstanceRecord]:
    records = []
    for series, (study, sop_class, values) in _SERIES.items():
        for number in (2, 10, 1) if series == "1.1.1" else (1,):
            records.append(
                record(
                    len(records) + 1,
                    study=study,
                    series=series,
                    sop=f"{series}.{number}",
                    sop_class_uid=sop_class,
                    values={**_STUDIES[study], **values, "InstanceNumber": str(number), "Rows": "512"},
                    header=f"header of {series}.{number}".encode(),
                )
            )
    return records


@pytest.fixture(scope="module")
def shared(postgres: TestPostgres) -> Iterator[PostgresCatalogReader]:
    """A reader of a catalog that no test changes."""
    database = postgres.fresh_database()
    opened = Postgres(database)
    migrate(opened)
    PostgresCatalogWriter(opened).upsert(_records())
    yield PostgresCatalogReader(opened, page_size=2, location_page_size=3)
    opened.close()
    postgres.drop(database)


@pytest.fixture
def reader(catalog: Postgres) -> PostgresCatalogReader:
    """A reader of a catalog for this test alone."""
    PostgresCatalogWriter(catalog).upsert(_records())
    return PostgresCatalogReader(catalog, page_size=2, location_page_size=3)


def asked(fuzzy: bool = False, **keys: str) -> tuple[Condition, ...]:
    conditions = (condition(BY_KEYWORD[keyword], key, fuzzy=fuzzy) for keyword, key in keys.items())
    return tuple(c for c in conditions if c is not None)


def found(reader: PostgresCatalogReader, level: Level, **keys: str) -> list[str]:
    unique = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[level]
    query = Query(level=level, conditions=asked(**keys))
    matches = [match.values.get(unique, "") for match in reader.find(query)]
    assert reader.count(query) == len(matches)
    return matches


MATCHES: list[tuple[str, dict[str, str], str]] = [
    ("C.2.2.2.3 universal", {"PatientID": "*"}, "1.1 1.2 1.3 1.4 1.5"),
    ("C.2.2.2.1 single value", {"PatientID": "P1"}, "1.1"),
    ("C.2.2.2.1 case counts", {"StudyDescription": "head"}, "1.2"),
    ("C.2.2.2.1 percent is itself", {"AccessionNumber": "A%1"}, "1.1"),
    ("C.2.2.2.2 uids", {"StudyInstanceUID": "1.1\\1.4\\9"}, "1.1 1.4"),
    ("C.2.2.2.4 question mark", {"AccessionNumber": "A?1"}, "1.1 1.2 1.3 1.4"),
    ("C.2.2.2.4 percent is itself", {"AccessionNumber": "*%*"}, "1.1"),
    ("C.2.2.2.4 underscore is itself", {"AccessionNumber": "A_*"}, "1.2"),
    ("C.2.2.2.4 star", {"PatientID": "P*"}, "1.1 1.2 1.3 1.4"),
    ("C.2.2.2.5 both ends", {"StudyDate": "20240101-20240131"}, "1.1 1.2"),
    ("C.2.2.2.5 until", {"StudyDate": "-20240101"}, "1.1 1.4"),
    ("C.2.2.2.5 since", {"StudyDate": "20240131-"}, "1.2 1.3"),
    ("C.2.2.2.5 one day", {"StudyDate": "20240201"}, "1.3"),
    ("C.2.2.2.5 hour", {"StudyTime": "10"}, "1.1 1.2 1.3"),
    ("C.2.2.2.5 minute", {"StudyTime": "1030"}, "1.1 1.3"),
    ("C.2.2.2.5 fraction", {"StudyTime": "103015.123"}, "1.1"),
    ("C.2.2.2.5 fraction range", {"StudyTime": "103015.122-103015.124"}, "1.1"),
    ("C.2.2.2.5 second", {"StudyTime": "-103015"}, "1.1 1.2 1.3"),
    ("C.2.2.2.5 evening", {"StudyTime": "1031-"}, "1.4"),
    ("C.2.2.2.5 date and time apart", {"StudyDate": "20231231-20240101", "StudyTime": "11-"}, "1.4"),
    ("PN whole name", {"PatientName": "doe^john"}, "1.1"),
    ("PN empty components", {"PatientName": "DOE^JOHN^^^"}, "1.1"),
    ("PN star", {"PatientName": "doe*"}, "1.1 1.2 1.5"),
    ("PN star for a component", {"PatientName": "doe^*"}, "1.1 1.2 1.5"),
    ("PN one letter", {"PatientName": "d*"}, "1.1 1.2 1.5"),
    ("PN given name", {"PatientName": "Doe^J*"}, "1.1 1.2"),
    ("PN contains", {"PatientName": "*ohn*"}, "1.1 1.2"),
    ("PN contains little", {"PatientName": "*oh*"}, "1.1 1.2"),
    ("PN question mark", {"PatientName": "D?e^John"}, "1.1"),
    ("PN accents", {"PatientName": "MULLER^*"}, "1.4"),
    ("PN accents asked", {"PatientName": "Dôé"}, "1.5"),
    ("PN ideographic", {"PatientName": "山田*"}, "1.3"),
    ("PN one ideograph", {"PatientName": "山*"}, "1.3"),
    ("PN phonetic", {"PatientName": "やまだ^たろう"}, "1.3"),
    ("PN groups in place", {"PatientName": "=山田*"}, "1.3"),
    ("PN groups in another place", {"PatientName": "==山田*"}, ""),
    ("PN alphabetic and ideographic", {"PatientName": "yamada*=山田*"}, "1.3"),
    ("PN none", {"PatientName": "ohn*"}, ""),
    ("PN with a folded column alone", {"ReferringPhysicianName": "WHO*"}, "1.1"),
    ("PN of several values", {"PerformingPhysicianName": "two^dr"}, "1.2"),
    ("C.2.2.2.7 modalities", {"ModalitiesInStudy": "PT\\MR"}, "1.1 1.2"),
    ("C.6 one modality", {"ModalitiesInStudy": "CT"}, "1.1 1.3"),
    ("C.6 modality wildcard", {"ModalitiesInStudy": "?T"}, "1.1 1.3"),
    ("C.6 SOP classes", {"SOPClassesInStudy": MR}, "1.2"),
    ("relational modality", {"Modality": "SR"}, "1.4"),
    ("relational modalities", {"Modality": "SR\\M*"}, "1.2 1.4"),
    ("relational, one series", {"Modality": "CT", "BodyPartExamined": "LEG"}, ""),
    ("relational instance", {"SOPInstanceUID": "1.1.1.10"}, "1.1"),
    ("relational number", {"SeriesNumber": "3"}, "1.2"),
    ("quotes", {"PatientID": "'; DROP TABLE study; --"}, ""),
]


@pytest.mark.parametrize(
    ("keys", "studies"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES]
)
def test_studies_that_match(shared: PostgresCatalogReader, keys: dict[str, str], studies: str) -> None:
    assert found(shared, Level.STUDY, **keys) == studies.split()


@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        (Level.PATIENT, {}, "P1 P2 P3 P4 p1"),
        (Level.PATIENT, {"PatientName": "*john*"}, "P1 P2"),
        (Level.PATIENT, {"StudyDate": "20240101-20240131"}, "P1 P2"),
        (Level.PATIENT, {"StudyDate": "20240101", "ModalitiesInStudy": "MR"}, ""),
        (Level.PATIENT, {"SOPInstanceUID": "1.4.1.1"}, "P4"),
        (Level.SERIES, {"StudyInstanceUID": "1.1"}, "1.1.2 1.1.1"),
        (Level.SERIES, {"PatientName": "doe*", "Modality": "CT\\MR"}, "1.1.1 1.2.1"),
        (Level.SERIES, {"SOPClassUID": PT}, "1.1.2"),
        (Level.SERIES, {"ModalitiesInStudy": "PT"}, "1.1.2 1.1.1"),
        (Level.IMAGE, {"StudyInstanceUID": "1.1"}, "1.1.2.1 1.1.1.1 1.1.1.2 1.1.1.10"),
        (Level.IMAGE, {"InstanceNumber": "10"}, "1.1.1.10"),
        (Level.IMAGE, {"Rows": "512", "PatientID": "P3"}, "1.3.1.1"),
        (Level.IMAGE, {"SOPInstanceUID": "\\".join(f"1.1.1.{n}" for n in range(5000))},
         "1.1.1.1 1.1.1.2 1.1.1.10"),
    ],
)  # fmt: skip
def test_entities_of_a_level_in_order(
    shared: PostgresCatalogReader, level: Level, keys: dict[str, str], expected: str
) -> None:
    assert found(shared, level, **keys) == expected.split()


def test_fuzzy_names_are_words(shared: PostgresCatalogReader) -> None:
    def names(key: str) -> list[str]:
        query = Query(level=Level.STUDY, conditions=asked(fuzzy=True, PatientName=key))
        return [match.values["StudyInstanceUID"] for match in shared.find(query)]

    assert names("joh do") == ["1.1", "1.2"]
    assert names("jurg") == ["1.4"]
    assert names("太") == ["1.3"]
    assert names("hn") == []


KEYS = st.text(alphabet="*?%_\\\\'\"=^-.:0159aZé山\u3099\ud800\0 ", max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    keys=st.dictionaries(st.sampled_from(sorted(BY_KEYWORD)), KEYS, min_size=1, max_size=4),
    fuzzy=st.booleans(),
)
def test_any_key_is_answered_or_refused(
    shared: PostgresCatalogReader, keys: dict[str, str], fuzzy: bool
) -> None:
    try:
        conditions = asked(fuzzy=fuzzy, **keys)
    except InvalidQuery as refusal:
        assert refusal.tag in {BY_KEYWORD[keyword].tag for keyword in keys}
        return
    for level in Level:
        query = Query(level=level, conditions=conditions)
        assert shared.count(query) == len(list(shared.find(query)))
    shared.locate(Selection(conditions=conditions))


def test_values_of_the_levels_above_come_along(shared: PostgresCatalogReader) -> None:
    (match,) = shared.find(
        Query(level=Level.IMAGE, conditions=asked(SOPInstanceUID="1.1.2.1"), patient_counts=True)
    )
    wanted = {
        "PatientName": "Doe^John", "NumberOfPatientRelatedStudies": "1", "NumberOfPatientRelatedSeries": "2",
        "NumberOfPatientRelatedInstances": "4", "ModalitiesInStudy": "CT\\PT",
        "NumberOfStudyRelatedSeries": "2", "NumberOfStudyRelatedInstances": "4", "SeriesNumber": "2",
        "NumberOfSeriesRelatedInstances": "1", "InstanceNumber": "1", "Rows": "512",
        "SOPClassUID": PT, "StudyTime": "103015.123",
    }  # fmt: skip
    assert wanted.items() <= match.values.items()
    assert "BitsAllocated" not in match.values
    assert match.header is None


def test_patients_are_counted_over_their_studies(reader: PostgresCatalogReader, catalog: Postgres) -> None:
    PostgresCatalogWriter(catalog).upsert(
        [record(90, study="1.9", series="1.9.1", sop="1.9.1.1", values=_STUDIES["1.1"])]
    )
    (match,) = reader.find(Query(level=Level.PATIENT, conditions=asked(PatientID="P1")))
    assert {keyword: value for keyword, value in match.values.items() if keyword.startswith("Number")} == {
        "NumberOfPatientRelatedStudies": "2",
        "NumberOfPatientRelatedSeries": "3",
        "NumberOfPatientRelatedInstances": "5",
    }


@pytest.mark.parametrize("level", list(Level))
def test_headers_come_with_matches(shared: PostgresCatalogReader, level: Level) -> None:
    for match in shared.find(Query(level=level, headers=True)):
        assert match.header is not None
        assert match.header.covers == 600
        assert match.transfer_syntax_uid == "1.2.840.10008.1.2.1"
        unique = (
            match.values[("PatientSex", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[level]]
            if level
            else ""
        )
        assert match.header.content.startswith(f"header of {unique}".encode())


def test_nothing_is_shown_whose_instances_are_deleted(
    reader: PostgresCatalogReader, catalog: Postgres
) -> None:
    with catalog.transaction() as cur:
        cur.execute("UPDATE instance SET deleted_at = now() WHERE sop_instance_uid LIKE '1.1.2.%'")
        cur.execute("UPDATE series SET number_of_instances = 0 WHERE series_instance_uid = '1.1.2'")
        cur.execute("UPDATE study SET number_of_instances = 0 WHERE study_instance_uid = '1.5'")
    assert found(reader, Level.PATIENT, PatientID="p1") == []
    assert found(reader, Level.STUDY, StudyInstanceUID="1.5") == []
    assert found(reader, Level.STUDY, Modality="PT") == []
    assert found(reader, Level.SERIES, StudyInstanceUID="1.1") == ["1.1.1"]
    assert found(reader, Level.IMAGE, SeriesInstanceUID="1.1.2") == []
    assert reader.locate(Selection(conditions=asked(SeriesInstanceUID="1.1.2"))) == []


@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (2, 1), (3, 2), (100, 4), (0, 0), (5, 5)])
@pytest.mark.parametrize("newest_first", [False, True])
def test_paging(shared: PostgresCatalogReader, limit: int, offset: int, newest_first: bool) -> None:
    order = ["1.3", "1.2", "1.1", "1.4", "1.5"] if newest_first else ["1.1", "1.2", "1.3", "1.4", "1.5"]
    query = Query(level=Level.STUDY, limit=limit, offset=offset, newest_first=newest_first)
    matches = [match.values["StudyInstanceUID"] for match in shared.find(query)]
    assert matches == order[offset : offset + limit]
    assert shared.count(query) == 5


@pytest.mark.parametrize("page_size", [1, 3, 7])
def test_newest_first_pages_over_equal_and_absent_dates(catalog: Postgres, page_size: int) -> None:
    dates = ["20240101", "20240101", "", "20240102", "", "20240101", "20240101"]
    times = ["10", "", "11", "", "", "12", "10"]
    PostgresCatalogWriter(catalog).upsert(
        [
            record(n, study=f"1.{n}", series=f"2.{n}", sop=f"3.{n}", values={
                "PatientID": "P", **({"StudyDate": date} if date else {}), **({"StudyTime": at} if at else {})
            })
            for n, (date, at) in enumerate(zip(dates, times, strict=True))
        ]
    )  # fmt: skip
    query = Query(level=Level.STUDY, newest_first=True)
    matches = [
        match.values["StudyInstanceUID"]
        for match in PostgresCatalogReader(catalog, page_size=page_size).find(query)
    ]
    assert matches == ["1.3", "1.5", "1.6", "1.0", "1.1", "1.2", "1.4"]


def test_no_connection_is_held_between_pages(reader: PostgresCatalogReader, catalog: Postgres) -> None:
    answers = reader.find(Query(level=Level.STUDY))
    next(answers)
    with catalog.transaction() as cur:
        cur.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'")
        assert cur.fetchone() == (0,)


def test_locations_come_in_order_with_the_renditions_of_the_served_bytes(
    reader: PostgresCatalogReader, catalog: Postgres
) -> None:
    its = next(r for r in _records() if r.stored.key.sop_instance_uid == "1.1.1.2").stored
    recipe = Recipe(
        prefix_offset=1, prefix_length=2, suffix_offset=3, suffix_length=4, padding=b"\0",
        planar_configuration=0, byte_order="<",
    )  # fmt: skip
    made = Rendition(
        sop_instance_uid="1.1.1.2", source_digest=its.digests.data_set,
        source_transfer_syntax_uid=its.transfer_syntax_uid, kind=RenditionKind.JPEG2000,
        transfer_syntax_uid="1.2.840.10008.1.2.4.90", file_length=90, data_set_offset=10,
        blob=BlobRef(bucket="memory", key="renditions/1", offset=0, length=100), digest="ab" * 32,
        recipe=recipe,
    )  # fmt: skip
    refused = Rendition(
        sop_instance_uid="1.1.1.2", source_digest=its.digests.data_set,
        source_transfer_syntax_uid=its.transfer_syntax_uid, kind=RenditionKind.THUMBNAIL,
        refusal="no pixels",
    )  # fmt: skip
    stale = Rendition(
        sop_instance_uid="1.1.1.1", source_digest="00" * 32,
        source_transfer_syntax_uid=its.transfer_syntax_uid, kind=RenditionKind.THUMBNAIL,
        blob=BlobRef(bucket="memory", key="renditions/2", offset=0, length=5), digest="cd" * 32,
    )  # fmt: skip
    for rendition in (made, refused, stale):
        PostgresCatalogWriter(catalog).record_rendition(rendition)
    located = reader.locate(Selection(conditions=asked(StudyInstanceUID="1.1")))
    assert uids(located) == ["1.1.2.1", "1.1.1.1", "1.1.1.2", "1.1.1.10"]
    third = located[2]
    assert (third.blob, third.digests, third.sop_class_uid) == (its.blob, its.digests, CT)
    assert third.header == its.header
    assert third.renditions == (made, refused)
    assert third.rendition(RenditionKind.THUMBNAIL) is None
    assert located[1].renditions == ()


def test_locations_without_headers_are_light(shared: PostgresCatalogReader) -> None:
    located = shared.locate(Selection(conditions=asked(PatientID="P1"), headers=False))
    assert len(located) == 4
    assert {location.header.covers for location in located} == {0}


def uids(located: Sequence[object]) -> list[str]:
    return [location.key.sop_instance_uid for location in located]  # type: ignore[attr-defined]
