"""Everything that a catalog says, free of row numbers and of how headers are compressed."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import cursor

from services.common.adapters.postgres import Postgres
from services.common.catalog.headers import unpack_header

_WITHOUT_NUMBERS = {
    "patient": "SELECT to_jsonb(p) - 'id' FROM patient p",
    "study": """
        SELECT to_jsonb(s) - '{id,patient}'::text[]
               || jsonb_build_object('patient', to_jsonb(p) - 'id')
          FROM study s JOIN patient p ON p.id = s.patient""",
    "series": """
        SELECT to_jsonb(r) - '{id,study,header_dictionary}'::text[]
               || jsonb_build_object('study', jsonb_build_array(study_instance_uid, issuer, patient_id))
          FROM series r JOIN study s ON s.id = r.study""",
    "other_original": "SELECT to_jsonb(o) FROM other_original o",
}
_INSTANCES = """
    SELECT to_jsonb(i) - '{id,series,header,header_form}'::text[]
           || jsonb_build_object('series',
                  jsonb_build_array(series_instance_uid, study_instance_uid, issuer, patient_id)),
           header_form, header, header_dictionary
      FROM instance i JOIN series r ON r.id = i.series JOIN study s ON s.id = r.study"""

Dump = dict[str, list[Any]]


def dump(postgres: Postgres) -> Dump:
    """The rows of every table in an order of their own."""
    with postgres.transaction(read_only=True) as cur:
        tables = {name: _rows(cur, statement) for name, statement in _WITHOUT_NUMBERS.items()}
        cur.execute(_INSTANCES)
        tables["instance"] = [
            {**row, "header": unpack_header(form, bytes(packed), dictionary and bytes(dictionary)).hex()}
            for row, form, packed, dictionary in cur
        ]
    return {name: sorted(rows, key=repr) for name, rows in tables.items()}


def _rows(cur: cursor, statement: str) -> list[Any]:
    cur.execute(statement)
    return [row for (row,) in cur]


def disagreements(postgres: Postgres) -> list[object]:
    """What the catalog counts and gathers, where it differs from the rows that it has."""
    with postgres.transaction(read_only=True) as cur:
        cur.execute(
            """
            SELECT 'series', r.id FROM series r
              LEFT JOIN LATERAL (
                   SELECT count(*) AS number, coalesce(array_agg(DISTINCT sop_class_uid), '{}') AS classes
                     FROM instance WHERE series = r.id AND deleted_at IS NULL) live ON true
             WHERE (r.number_of_instances, r.sop_classes) IS DISTINCT FROM (live.number, live.classes)
            UNION ALL
            SELECT 'study', s.id FROM study s
              LEFT JOIN LATERAL (
                   SELECT count(*) AS number, count(DISTINCT r.id) AS series,
                          coalesce(array_agg(DISTINCT modality) FILTER (WHERE modality IS NOT NULL), '{}')
                              AS modalities,
                          coalesce(array_agg(DISTINCT sop_class_uid), '{}') AS classes
                     FROM series r JOIN instance i ON i.series = r.id
                    WHERE r.study = s.id AND deleted_at IS NULL) live ON true
             WHERE (s.number_of_instances, s.number_of_series, s.modalities, s.sop_classes)
                   IS DISTINCT FROM (live.number, live.series, live.modalities, live.classes)
            UNION ALL
            SELECT 'patient', p.id FROM patient p
             WHERE NOT EXISTS (SELECT FROM study WHERE patient = p.id)
            UNION ALL
            SELECT 'link', s.id FROM study s JOIN patient p ON p.id = s.patient
             WHERE (p.issuer, p.patient_id, p.birth_date, p.sex)
                   IS DISTINCT FROM (s.issuer, s.patient_id, coalesce(s.birth_date, ''), coalesce(s.sex, ''))
            """
        )
        return list(cur.fetchall())
