"""The catalog says the same whatever the order in which news comes, how often, and in what batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.adapters.postgres import Postgres
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.model import InstanceRecord
from tests.catalog_dump import Dump, disagreements, dump
from tests.fakes.made_records import record

_SAID = {
    "PatientID": ["1", "2"],
    "IssuerOfPatientID": ["A"],
    "PatientName": ["Doe^J", "Roe^R"],
    "PatientBirthDate": ["19700101", "1980"],
    "PatientSex": ["F", "M"],
    "PatientBirthTime": ["10"],
    "StudyDescription": ["one", "two"],
    "StudyDate": ["20260101", "20260202"],
    "Modality": ["CT", "MR"],
    "SeriesNumber": ["1", "2"],
    "InstanceNumber": ["1", "2"],
}


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """One data set: what it says of itself, and where it says that it belongs."""

    study: str
    series: str
    sop_class_uid: str
    transfer_syntax_uid: str
    values: Mapping[str, str]


_bytes = st.builds(
    Bytes,
    study=st.sampled_from(["1", "2"]),
    series=st.sampled_from(["8", "9"]),
    sop_class_uid=st.sampled_from(["1.1", "1.2"]),
    transfer_syntax_uid=st.sampled_from(["2.1", "2.2"]),
    values=st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in _SAID.items()}),
)
_which = st.tuples(st.sampled_from(["11", "12", "13"]), st.sampled_from("abc"))


@st.composite
def _arrivals(draw: st.DrawFn) -> list[InstanceRecord]:
    """Originals at different moments, of a few instances and of one or several data sets each."""
    made = draw(st.dictionaries(_which, _bytes, min_size=1, max_size=6))
    came = draw(
        st.dictionaries(
            st.integers(1, 50),
            st.tuples(st.sampled_from(sorted(made)), st.sampled_from(["", "B"])),
            min_size=1,
            max_size=10,
        )
    )
    return [
        record(
            moment,
            study=made[which].study,
            series=f"{made[which].study}.{made[which].series}",
            sop=which[0],
            content=which[1],
            values=made[which].values,
            sop_class_uid=made[which].sop_class_uid,
            transfer_syntax_uid=made[which].transfer_syntax_uid,
            default_issuer=issuer,
        )
        for moment, (which, issuer) in came.items()
    ]


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[list[InstanceRecord], list[list[InstanceRecord]]]:
    """Originals, and the batches in which news of them comes: in any order, some of it repeatedly."""
    came = draw(_arrivals())
    told = draw(st.permutations(came + draw(st.lists(st.sampled_from(came), max_size=4))))
    cuts = sorted(draw(st.lists(st.integers(0, len(told)), max_size=6)))
    return came, [told[start:end] for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True)]


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
)
@given(_deliveries())
def test_any_order_any_repetition_and_any_batches_leave_the_same_catalog(
    catalog: Postgres, delivered: tuple[list[InstanceRecord], list[list[InstanceRecord]]]
) -> None:
    came, batches = delivered
    in_order = sorted(came, key=lambda its: its.stored.blob.key)
    expected = _after(catalog, [[its] for its in in_order])
    assert _after(catalog, batches) == expected
    assert _after(catalog, [came]) == expected


def _after(catalog: Postgres, batches: Sequence[Sequence[InstanceRecord]]) -> Dump:
    with catalog.transaction() as cur:
        cur.execute("TRUNCATE patient, study, series, instance, other_original, rendition")
    writer = PostgresCatalogWriter(catalog)
    for batch in batches:
        writer.upsert(batch)
    assert disagreements(catalog) == []
    return dump(catalog)
