"""An instance as it comes to the catalog: whose it is, where it belongs, what it says; fit for columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.common.attributes import Attribute
from services.common.catalog import columns
from services.common.catalog.merge import Merged, Original
from services.common.errors import InvalidInstance
from services.common.model import InstanceRecord, StoredInstance, Values


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Family:
    """Who a study says it is of: an ID within its issuer; without an ID, the study itself is all there is."""

    issuer: str
    patient_id: str
    anonymous_study_uid: str

    @property
    def lock_number(self) -> int:
        """The number of the family's advisory lock, 64 bits signed; two families rarely share one."""
        text = "\0".join((self.issuer, self.patient_id, self.anonymous_study_uid))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PatientKey:
    """What tells two patients apart: other birth dates or sexes of one family are never merged."""

    family: Family
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StudyKey:
    """What tells two studies apart: one UID under two patients is two studies, and a conflict."""

    study_instance_uid: str
    issuer: str
    patient_id: str

    @property
    def family(self) -> Family:
        """Whose study it is."""
        return Family(
            issuer=self.issuer,
            patient_id=self.patient_id,
            anonymous_study_uid="" if self.patient_id else self.study_instance_uid,
        )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SeriesKey:
    """A series within its study."""

    study: StudyKey
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One original that comes to the catalog; `values` and UIDs as their columns hold them."""

    stored: StoredInstance
    ordinal: UUID
    series: SeriesKey
    sop_instance_uid: str
    sop_class_uid: str
    original: Original
    values: Values

    @property
    def study(self) -> StudyKey:
        """The study that it belongs to."""
        return self.series.study

    def said(self, attributes: Sequence[Attribute]) -> Merged:
        """What it says about some attributes, to be merged into a row."""
        return Merged.of(
            self.ordinal, {a.keyword: self.values[a.keyword] for a in attributes if a.keyword in self.values}
        )


def arrivals(records: Iterable[InstanceRecord]) -> list[Arrival]:
    """The records in the order in which they came, each original once.

    Raises:
        InvalidInstance: an original has a key that is not a time-ordered one.
    """
    by_ordinal = {arrival.ordinal: arrival for arrival in map(_arrival, records)}
    return [by_ordinal[ordinal] for ordinal in sorted(by_ordinal)]


def _arrival(record: InstanceRecord) -> Arrival:
    stored = record.stored
    values = {
        attribute.keyword: value
        for attribute in (*columns.STUDY, *columns.SERIES, *columns.INSTANCE)
        if (raw := record.values.get(attribute.keyword)) and (value := columns.value(attribute, raw))
    }
    original = Original(
        blob=stored.blob,
        data_set_offset=stored.data_set_offset,
        transfer_syntax_uid=columns.identity(stored.transfer_syntax_uid),
        digests=stored.digests,
        received_at=stored.received_at,
        route=stored.source.route.value,
        calling_aet=columns.text(stored.source.calling_aet),
        called_aet=columns.text(stored.source.called_aet),
    )
    try:
        ordinal = original.ordinal
    except ValueError as exc:
        raise InvalidInstance(str(exc)) from exc
    return Arrival(
        stored=stored,
        ordinal=ordinal,
        series=SeriesKey(
            study=_study_key(stored, record.values),
            series_instance_uid=columns.identity(stored.key.series_instance_uid),
        ),
        sop_instance_uid=columns.identity(stored.key.sop_instance_uid),
        sop_class_uid=columns.identity(stored.sop_class_uid),
        original=original,
        values=values,
    )


def _study_key(stored: StoredInstance, values: Mapping[str, str]) -> StudyKey:
    """The identity rules: the issuer that is stated, else the sending node's; none without an ID."""
    patient_id = columns.identity(values.get("PatientID", "")).strip(" ")
    stated_issuer = columns.identity(values.get("IssuerOfPatientID", "")).strip(" ")
    issuer = stated_issuer or columns.identity(stored.source.default_issuer).strip(" ")
    return StudyKey(
        study_instance_uid=columns.identity(stored.key.study_instance_uid),
        issuer=issuer if patient_id else "",
        patient_id=patient_id,
    )
