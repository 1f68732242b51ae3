"""What an update of the catalog costs PostgreSQL."""

from __future__ import annotations

from services.common.adapters.postgres import Postgres
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.settings import PostgresSettings
from tests.fakes.made_records import record

_JANE = {"PatientID": "1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "PatientSex": "F"}


def test_one_more_batch_of_a_study_leaves_the_indexes_of_its_rows_alone(
    catalog_settings: PostgresSettings,
) -> None:
    catalog = Postgres(catalog_settings.model_copy(update={"pool_size": 1}))
    writer = PostgresCatalogWriter(catalog)
    # Within one hour; the first batch gives the rows their names, of which there are indexes.
    for n in range(8):
        writer.upsert([record(n * 1000, sop=f"1.{n}", values=_JANE)])
    with catalog.transaction() as cur:
        cur.execute("SELECT pg_stat_force_next_flush()")
    with catalog.transaction() as cur:
        cur.execute("SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables")
        updates = {table: (updated, hot) for table, updated, hot in cur}
    catalog.close()
    assert updates["study"] == (8, 7)
    assert updates["series"] == (8, 8)
