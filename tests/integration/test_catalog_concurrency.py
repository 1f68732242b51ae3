"""Statement 18: several writers index the first objects of the same new patient, study and series at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from services.common.adapters.postgres import Postgres
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.model import InstanceRecord
from services.common.settings import PostgresSettings
from tests.catalog_dump import disagreements, dump
from tests.fakes.made_records import record

_ROUNDS = 200
_WRITERS = 4

Index = Callable[[Sequence[InstanceRecord]], object]


def _at_once(settings: PostgresSettings, work: Callable[[int, Index, threading.Barrier], None]) -> None:
    """Run `work` in as many threads as there are writers, each with a session of its own."""
    meet = threading.Barrier(_WRITERS)

    def run(number: int) -> None:
        postgres = Postgres(settings.model_copy(update={"pool_size": 1}))
        try:
            work(number, PostgresCatalogWriter(postgres).upsert, meet)
        except BaseException:
            meet.abort()
            raise
        finally:
            postgres.close()

    with ThreadPoolExecutor(_WRITERS) as writers:
        list(writers.map(run, range(_WRITERS)))


def _deadlocks(catalog: Postgres) -> int:
    with catalog.transaction() as cur:
        cur.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cur.fetchone()[0])


def _first_objects(number: int, writer: int) -> list[InstanceRecord]:
    """A writer's instances of a new study: two of its own, and one that every writer brings."""
    values = {"PatientID": f"P{number}", "PatientName": f"N^{writer}", "Modality": "CT"}
    if number % 4 == 0:
        values["PatientSex"] = "MF"[writer % 2]
    if number % 5 == 0:
        del values["PatientID"]
    moment = (number * _WRITERS + writer) * 10
    return [
        record(moment + n, study=f"2.{number}", series=f"3.{number}", sop=f"1.{number}.{sop}", values=values)
        for n, sop in enumerate((f"{writer}.1", f"{writer}.2", "shared"), start=1)
    ]


def test_first_objects_of_a_study_from_several_writers_make_one_row_each(
    catalog: Postgres, catalog_settings: PostgresSettings
) -> None:
    def work(writer: int, index: Index, meet: threading.Barrier) -> None:
        for number in range(_ROUNDS):
            batch = _first_objects(number, writer)
            meet.wait(60)
            index(batch)

    _at_once(catalog_settings, work)
    with catalog.transaction() as cur:
        cur.execute("SELECT count(*), min(number_of_instances), max(number_of_instances) FROM study")
        assert cur.fetchone() == (_ROUNDS, 2 * _WRITERS + 1, 2 * _WRITERS + 1)
        cur.execute("SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM series)")
        assert cur.fetchone() == (_ROUNDS, _ROUNDS)
        cur.execute("SELECT count(*) FROM other_original")
        assert cur.fetchone() == (_ROUNDS * (_WRITERS - 1),)
    assert disagreements(catalog) == []
    assert _deadlocks(catalog) == 0


def test_one_new_instance_under_several_patients_at_once_is_in_the_last_ones_study(
    catalog: Postgres, catalog_settings: PostgresSettings
) -> None:
    rounds = 60

    def work(writer: int, index: Index, meet: threading.Barrier) -> None:
        for number in range(rounds):
            its = record(
                number * _WRITERS + writer + 1,
                study=f"2.{number}.{writer}",
                series=f"3.{number}.{writer}",
                sop=f"1.{number}",
                content=str(writer),
                values={"PatientID": f"P{writer}"},
            )
            meet.wait(60)
            index([its])

    _at_once(catalog_settings, work)
    assert disagreements(catalog) == []
    assert _deadlocks(catalog) == 0
    with catalog.transaction() as cur:
        cur.execute("SELECT patient_id, sum(number_of_instances) FROM study GROUP BY 1 ORDER BY 1")
        assert cur.fetchall() == [("P0", 0), ("P1", 0), ("P2", 0), ("P3", rounds)]
        cur.execute("SELECT count(*) FROM other_original")
        assert cur.fetchone() == (rounds * (_WRITERS - 1),)


def _tangled(writer: int, turn: int) -> list[InstanceRecord]:
    """Instances of several patients in no order, some of which move from study to study with each batch."""
    chance = random.Random(f"{writer} {turn}")
    batch = []
    for place in range(12):
        patient, content = chance.randrange(6), chance.randrange(4)
        batch.append(
            record(
                (turn * 12 + place) * _WRITERS + writer + 1,
                study=f"2.{patient}",
                series=f"3.{patient}.{chance.randrange(2)}",
                sop=f"1.{chance.randrange(40)}",
                content=f"{patient} {content} {place} {turn} {writer}",
                values={"PatientID": f"P{patient}", "PatientSex": chance.choice("FM")},
            )
        )
    return batch


def test_instances_that_move_between_studies_under_several_writers_end_where_they_belong(
    catalog: Postgres, catalog_settings: PostgresSettings
) -> None:
    turns = 40

    def work(writer: int, index: Index, meet: threading.Barrier) -> None:
        meet.wait(60)
        for turn in range(turns):
            index(_tangled(writer, turn))

    _at_once(catalog_settings, work)
    assert disagreements(catalog) == []
    assert _deadlocks(catalog) == 0
    together = dump(catalog)
    with catalog.transaction() as cur:
        cur.execute("TRUNCATE patient, study, series, instance, other_original, rendition")
    alone = PostgresCatalogWriter(catalog)
    for turn in range(turns):
        for writer in range(_WRITERS):
            alone.upsert(_tangled(writer, turn))
    assert dump(catalog) == together
