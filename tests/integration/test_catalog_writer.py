"""The catalog's writer on a real PostgreSQL: one batch after the other."""

from __future__ import annotations

from typing import Any

import pytest

from services.common.adapters.postgres import Postgres
from services.common.catalog.columns import INSTANCE, SERIES, STUDY
from services.common.catalog.reader import PostgresCatalogReader
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.model import BlobRef, InstanceRecord, Recipe, Rendition, RenditionKind
from services.common.query import Selection
from tests.catalog_dump import disagreements, dump
from tests.fakes.made_records import CT, key, record

JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
MR = "1.2.840.10008.5.1.4.1.1.4"
JANE = {"PatientID": "1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "PatientSex": "F"}


@pytest.fixture
def writer(catalog: Postgres) -> PostgresCatalogWriter:
    return PostgresCatalogWriter(catalog)


@pytest.fixture(autouse=True)
def _consistent(catalog: Postgres) -> Any:
    yield
    assert disagreements(catalog) == []


def rows(catalog: Postgres, sql: str) -> list[tuple[Any, ...]]:
    with catalog.transaction(read_only=True) as cur:
        cur.execute(sql)
        return cur.fetchall()


def test_a_first_batch_is_findable_and_told_of(catalog: Postgres, writer: PostgresCatalogWriter) -> None:
    batch = [
        record(n, sop=f"1.{n}", series=f"2.{n % 2}", values={**JANE, "Modality": ("CT", "PT")[n % 2]})
        for n in range(6)
    ]
    indexed = writer.upsert(batch)
    assert [told.key.sop_instance_uid for told in indexed] == [f"1.{n}" for n in range(6)]
    assert indexed[0].blob == batch[0].stored.blob
    assert indexed[0].data_set_digest == batch[0].stored.digests.data_set
    assert rows(catalog, "SELECT patient_name, name_folded, birth_time FROM patient") == [
        ("Doe^Jane", "doe^jane", None)
    ]
    assert rows(
        catalog, "SELECT modalities, sop_classes, number_of_series, number_of_instances FROM study"
    ) == [(["CT", "PT"], [CT], 2, 6)]


def test_an_empty_batch_is_nothing(writer: PostgresCatalogWriter) -> None:
    assert writer.upsert([]) == []


def test_the_same_batch_twice_changes_nothing_and_is_told_of_again(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    batch = [record(n, sop=f"1.{n}", values=JANE) for n in range(3)]
    first = writer.upsert(batch)
    before = dump(catalog)
    assert writer.upsert([*batch, *batch]) == first
    assert dump(catalog) == before


def test_an_instance_that_has_a_rendition_is_not_told_of_again(writer: PostgresCatalogWriter) -> None:
    its = record(1)
    writer.upsert([its])
    writer.record_rendition(_thumbnail(its))
    assert writer.upsert([its]) == []


def test_the_same_bytes_once_more_count_once_and_keep_the_first_blob(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1), record(2, sop="other")])
    indexed = writer.upsert([record(5)])
    assert [told.blob.key for told in indexed] == [key(1)]
    assert rows(catalog, "SELECT number_of_instances FROM study") == [(2,)]
    assert rows(catalog, "SELECT key FROM other_original") == [(key(5),)]


def test_the_same_bytes_from_before_move_the_row_to_the_earlier_blob(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(5)])
    writer.upsert([record(1)])
    assert rows(catalog, "SELECT key, length, calling_aet FROM instance") == [(key(1), 1001, "CT1")]
    assert rows(catalog, "SELECT key, length, calling_aet FROM other_original") == [(key(5), 1005, "CT2")]


def test_other_bytes_replace_and_the_old_ones_are_remembered(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, content="old", values={"InstanceNumber": "1", "Rows": "512"})])
    indexed = writer.upsert([record(2, content="new", values={"InstanceNumber": "2"})])
    assert [told.blob.key for told in indexed] == [key(2)]
    assert rows(catalog, "SELECT key, instance_number, instance_order, rows FROM instance") == [
        (key(2), "2", 2, None)
    ]
    assert rows(catalog, "SELECT key FROM other_original") == [(key(1),)]
    assert rows(catalog, "SELECT number_of_instances FROM series") == [(1,)]


def test_late_news_of_bytes_that_were_replaced_is_remembered_only(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(2, content="new")])
    assert writer.upsert([record(1, content="old")]) == []
    assert rows(catalog, "SELECT key FROM instance") == [(key(2),)]
    assert writer.missing([key(1), key(2), key(3)]) == {key(3)}


def test_old_bytes_that_come_again_are_served_from_their_first_blob(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, content="a", values={"InstanceNumber": "1"}), record(2, content="b")])
    indexed = writer.upsert([record(3, content="a", values={"InstanceNumber": "1"})])
    assert [told.blob.key for told in indexed] == [key(1)]
    assert rows(catalog, "SELECT key, instance_number FROM instance") == [(key(1), "1")]
    assert rows(catalog, "SELECT key FROM other_original ORDER BY key") == [(key(2),), (key(3),)]


def test_bytes_stay_the_last_when_their_last_blob_is_swept_away(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, content="a"), record(5, content="a")])
    with catalog.transaction() as cur:
        cur.execute("DELETE FROM other_original")
    writer.upsert([record(3, content="b")])
    assert rows(catalog, "SELECT key FROM instance") == [(key(1),)]


def test_the_same_bytes_in_another_transfer_syntax_are_other_bytes(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, transfer_syntax_uid="1.2.840.10008.1.2.4.90")])
    writer.upsert([record(2, transfer_syntax_uid="1.2.840.10008.1.2.4.91")])
    assert rows(catalog, "SELECT key, transfer_syntax_uid FROM instance") == [
        (key(2), "1.2.840.10008.1.2.4.91")
    ]


def test_an_instance_that_comes_again_in_another_series_moves_there(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    ct = record(2, sop="stays", values={"Modality": "CT"})
    writer.upsert([record(1, content="a", sop_class_uid=MR, values={"Modality": "CT"}), ct])
    writer.upsert([record(3, content="b", study="9", series="9.1", values={"Modality": "MR"})])
    assert rows(
        catalog,
        "SELECT study_instance_uid, number_of_instances, sop_classes, modalities FROM study ORDER BY 1",
    ) == [("1.2", 1, [CT], ["CT"]), ("9", 1, [CT], ["MR"])]
    writer.upsert([record(4, sop="stays", content="b", study="9", series="9.1", values={"Modality": "MR"})])
    assert rows(catalog, "SELECT study_instance_uid, number_of_series, modalities FROM study ORDER BY 1") == [
        ("1.2", 0, []),
        ("9", 1, ["MR"]),
    ]


def test_one_instance_in_two_series_at_once_is_in_the_later_one(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, content="a", series="a"), record(2, content="b", series="b")])
    assert rows(catalog, "SELECT series_instance_uid, number_of_instances FROM series ORDER BY 1") == [
        ("a", 0),
        ("b", 1),
    ]


def test_each_value_comes_from_the_latest_instance_that_has_one(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(2, sop="2", values={"StudyDescription": "two", "StudyID": "two"})])
    writer.upsert(
        [
            record(3, sop="3", values={"StudyDescription": "three"}),
            record(1, sop="1", values={"StudyDescription": "one", "StudyID": "one", "AccessionNumber": "A"}),
        ]
    )
    assert rows(catalog, "SELECT study_description, study_id, accession_number FROM study") == [
        ("three", "two", "A")
    ]


def test_no_patient_id_is_a_patient_per_study(catalog: Postgres, writer: PostgresCatalogWriter) -> None:
    """Statement 19: a missing Patient ID never merges two people."""
    writer.upsert(
        [
            record(1, sop="1", study="1", series="1.1", values={"PatientName": "Doe^J"}),
            record(2, sop="2", study="2", series="2.1", values={"PatientName": "Doe^J", "PatientID": " "}),
            record(3, sop="3", study="1", series="1.1", default_issuer="H", values={"PatientName": "Doe^J"}),
        ]
    )
    assert rows(catalog, "SELECT anonymous_study_uid, issuer FROM patient ORDER BY 1") == [
        ("1", ""),
        ("2", ""),
    ]
    assert rows(catalog, "SELECT study_instance_uid FROM study ORDER BY 1") == [("1",), ("2",)]


def test_one_id_from_two_issuers_is_two_patients(catalog: Postgres, writer: PostgresCatalogWriter) -> None:
    """Statement 20: the issuer is what the data set says, else the sending node's."""
    writer.upsert(
        [
            record(1, sop="1", study="1", series="1", values={"PatientID": "7", "IssuerOfPatientID": "A"}),
            record(2, sop="2", study="2", series="2", values={"PatientID": "7"}, default_issuer="B"),
            record(3, sop="3", study="3", series="3", values={"PatientID": "7"}, default_issuer="A"),
            record(4, sop="4", study="4", series="4", values={"PatientID": "7"}),
        ]
    )
    assert rows(
        catalog,
        "SELECT p.issuer, array_agg(study_instance_uid ORDER BY study_instance_uid)"
        " FROM patient p JOIN study s ON s.patient = p.id GROUP BY 1 ORDER BY 1",
    ) == [("", ["4"]), ("A", ["1", "3"]), ("B", ["2"])]


def test_one_study_under_two_patients_is_two_studies_and_a_conflict(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert(
        [record(1, sop="1", values={"PatientID": "7"}), record(2, sop="2", values={"PatientID": "8"})]
    )
    assert rows(catalog, "SELECT patient_id, number_of_instances FROM study ORDER BY 1") == [
        ("7", 1),
        ("8", 1),
    ]
    assert rows(catalog, "SELECT count(*) FROM series") == [(2,)]
    assert rows(catalog, "SELECT kind, subject FROM conflict") == [("study of two patients", "1.2")]


def test_one_identity_with_two_birth_dates_is_two_patients_and_a_conflict(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, sop="1", study="1", series="1", values=JANE)])
    writer.upsert([record(2, sop="2", study="2", series="2", values={**JANE, "PatientBirthDate": "1980"})])
    assert rows(catalog, "SELECT birth_date FROM patient ORDER BY 1") == [("19700101",), ("1980",)]
    assert rows(catalog, "SELECT kind, subject FROM conflict") == [("one identity, two people", "|1")]


def test_a_study_that_states_its_patient_in_two_ways_is_a_conflict(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(1, sop="1", values=JANE), record(2, sop="2", values={**JANE, "PatientSex": "M"})])
    assert rows(catalog, "SELECT stated_sexes, sex FROM study") == [(["F", "M"], "M")]
    assert rows(catalog, "SELECT kind FROM conflict") == [("patient stated in two ways",)]


def test_a_study_follows_its_values_to_another_patient_and_leaves_none_behind(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    unsexed = {"PatientID": "1", "PatientName": "Doe^J"}
    writer.upsert([record(1, sop="1", study="1", series="1", values=unsexed)])
    writer.upsert([record(2, sop="2", study="2", series="2", values=unsexed | {"PatientName": "Later^J"})])
    writer.upsert([record(3, sop="3", study="2", series="2", values=JANE)])
    assert rows(catalog, "SELECT sex, patient_name FROM patient ORDER BY 1") == [
        ("", "Doe^J"),
        ("F", "Doe^Jane"),
    ]
    writer.upsert([record(4, sop="4", study="1", series="1", values=JANE)])
    assert rows(catalog, "SELECT sex FROM patient") == [("F",)]


def test_a_deleted_instance_is_not_counted_until_it_is_sent_again(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    writer.upsert([record(5), record(6, sop="other", sop_class_uid=MR)])
    with catalog.transaction() as cur:
        cur.execute("UPDATE instance SET deleted_at = now() WHERE sop_instance_uid = '1.2.3.4'")
        cur.execute("UPDATE series SET number_of_instances = 1, sop_classes = %s", ([MR],))
    assert writer.upsert([record(4), record(5)]) == []
    assert rows(catalog, "SELECT number_of_instances, sop_classes FROM study") == [(1, [MR])]
    assert len(writer.upsert([record(7)])) == 1
    assert rows(catalog, "SELECT number_of_instances, sop_classes FROM study") == [(2, [CT, MR])]
    assert rows(catalog, "SELECT deleted_at FROM instance ORDER BY id") == [(None,), (None,)]


@pytest.mark.parametrize(
    "hostile",
    ["\0", "a\0b", "\ud800", "x\udcff\ud83d", "é" * 5000, "\U0001f480" * 3000, "ﷺ" * 1000, "\x1b[2J\n"],
    ids=["nul", "nul inside", "surrogate", "surrogates", "2 bytes", "4 bytes", "grows when folded", "escape"],
)
def test_no_text_can_stop_a_batch(catalog: Postgres, writer: PostgresCatalogWriter, hostile: str) -> None:
    """Statement 22: invalid values do not stop storing."""
    everywhere = {attribute.keyword: hostile for attribute in (*STUDY, *SERIES, *INSTANCE)}
    everywhere |= {"PatientID": hostile, "IssuerOfPatientID": hostile}
    batch = [
        record(1, sop=f"{hostile}1", series=hostile, study=hostile, sop_class_uid=hostile, values=everywhere),
        record(2, sop="plain", values={"PatientID": "1"}, default_issuer=hostile),
    ]
    assert len(writer.upsert(batch)) == 2
    assert len(writer.upsert(batch)) == 2
    assert rows(catalog, "SELECT count(*) FROM instance") == [(2,)]


def test_two_long_patient_ids_never_become_one(catalog: Postgres, writer: PostgresCatalogWriter) -> None:
    ids = ["x" * 10_000, "x" * 10_000 + "y", "x" * 300, "x" * 256]
    writer.upsert(
        [
            record(n, sop=f"{n}", study=f"{n}", series=f"{n}", values={"PatientID": i})
            for n, i in enumerate(ids)
        ]
    )
    assert rows(catalog, "SELECT count(*), max(octet_length(patient_id)) FROM patient") == [(4, 256)]
    assert rows(catalog, f"SELECT count(*) FROM patient WHERE patient_id = '{'x' * 256}'") == [(1,)]


def _thumbnail(its: InstanceRecord, **changes: Any) -> Rendition:
    told: dict[str, Any] = {
        "sop_instance_uid": its.stored.key.sop_instance_uid,
        "source_digest": its.stored.digests.data_set,
        "source_transfer_syntax_uid": its.stored.transfer_syntax_uid,
        "kind": RenditionKind.THUMBNAIL,
        "blob": BlobRef(bucket="memory", key="renditions/1", offset=0, length=10),
        "digest": "ab" * 32,
    }
    return Rendition(**told | changes)


def test_a_rendition_is_kept_with_its_recipe_and_may_be_recorded_again(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    its = record(1)
    writer.upsert([its])
    recipe = Recipe(
        prefix_offset=1,
        prefix_length=2,
        suffix_offset=3,
        suffix_length=4,
        padding=b"\0\xff",
        planar_configuration=1,
        byte_order="<",
    )
    for length in (10, 20):
        blob = BlobRef(bucket="memory", key="renditions/2", offset=0, length=length)
        writer.record_rendition(_thumbnail(its, kind=RenditionKind.JPEG2000, recipe=recipe, blob=blob))
    writer.record_rendition(_thumbnail(its, blob=None, digest="", refusal="no pixels"))
    assert rows(catalog, "SELECT kind, length, refusal, recipe->>'padding' FROM rendition ORDER BY 1") == [
        ("jpeg2000", 20, None, "00ff"),
        ("thumbnail", None, "no pixels", None),
    ]


def test_a_rendition_of_nothing_or_of_older_bytes_harms_nobody(
    catalog: Postgres, writer: PostgresCatalogWriter
) -> None:
    old = record(1, content="old")
    writer.record_rendition(_thumbnail(old))
    writer.upsert([old, record(2, content="new")])
    writer.record_rendition(_thumbnail(old))
    assert len(writer.upsert([record(2, content="new")])) == 1
    assert rows(catalog, "SELECT count(*) FROM rendition") == [(1,)]


@pytest.mark.parametrize("syntaxes", [(JPEG_BASELINE, JPEG_EXTENDED), (JPEG_EXTENDED, JPEG_BASELINE)])
def test_what_was_made_of_the_same_bytes_in_another_transfer_syntax_counts_for_nothing(
    catalog: Postgres, writer: PostgresCatalogWriter, syntaxes: tuple[str, str]
) -> None:
    """The first syntax may have been false: its refusal must not keep the second from a picture."""
    first, second = (record(n, transfer_syntax_uid=syntax) for n, syntax in enumerate(syntaxes))
    refused = _thumbnail(first, blob=None, digest="", refusal="broken")
    writer.upsert([first])
    writer.record_rendition(refused)
    assert [told.transfer_syntax_uid for told in writer.upsert([second])] == [syntaxes[1]]
    assert _given_out(catalog) == ()
    writer.record_rendition(_thumbnail(second))
    assert writer.upsert([second]) == []
    writer.record_rendition(refused)  # of a worker that took its time
    assert _given_out(catalog) == (_thumbnail(second),)


def _given_out(catalog: Postgres) -> tuple[Rendition, ...]:
    (location,) = PostgresCatalogReader(catalog).locate(Selection(conditions=()))
    return location.renditions


def test_attempts_are_counted_until_one_ends(writer: PostgresCatalogWriter) -> None:
    assert [writer.begin("index", "k"), writer.begin("index", "k"), writer.begin("index", "other")] == [
        1,
        2,
        1,
    ]
    writer.end("index", "k")
    writer.end("index", "never begun")
    assert writer.begin("index", "k") == 1
