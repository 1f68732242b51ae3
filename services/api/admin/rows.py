"""What the pages show of a study, a series and an instance."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.model import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study as DICOM says it; the templates put it into words."""

    uid: str
    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    date: str
    time: str
    accession_number: str
    description: str
    referring_physician: str
    modalities: tuple[str, ...]
    series: int
    instances: int

    @classmethod
    def of(cls, values: Values) -> StudyRow:
        """From a match at study level."""
        return cls(
            uid=values["StudyInstanceUID"],
            patient_name=values.get("PatientName", ""),
            patient_id=values.get("PatientID", ""),
            birth_date=values.get("PatientBirthDate", ""),
            sex=values.get("PatientSex", ""),
            date=values.get("StudyDate", ""),
            time=values.get("StudyTime", ""),
            accession_number=values.get("AccessionNumber", ""),
            description=values.get("StudyDescription", ""),
            referring_physician=values.get("ReferringPhysicianName", ""),
            modalities=tuple(filter(None, values.get("ModalitiesInStudy", "").split("\\"))),
            series=int(values.get("NumberOfStudyRelatedSeries", "0")),
            instances=int(values.get("NumberOfStudyRelatedInstances", "0")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A series."""

    uid: str
    number: str
    modality: str
    description: str
    body_part: str
    protocol: str
    station: str
    instances: int
    patient_name: str
    patient_id: str

    @classmethod
    def of(cls, values: Values) -> SeriesRow:
        """From a match at series level."""
        return cls(
            uid=values["SeriesInstanceUID"],
            number=values.get("SeriesNumber", ""),
            modality=values.get("Modality", ""),
            description=values.get("SeriesDescription", ""),
            body_part=values.get("BodyPartExamined", ""),
            protocol=values.get("ProtocolName", ""),
            station=values.get("StationName", ""),
            instances=int(values.get("NumberOfSeriesRelatedInstances", "0")),
            patient_name=values.get("PatientName", ""),
            patient_id=values.get("PatientID", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """An instance."""

    uid: str
    sop_class_uid: str
    number: str
    rows: str
    columns: str
    frames: str

    @classmethod
    def of(cls, values: Values) -> InstanceRow:
        """From a match at instance level."""
        return cls(
            uid=values["SOPInstanceUID"],
            sop_class_uid=values.get("SOPClassUID", ""),
            number=values.get("InstanceNumber", ""),
            rows=values.get("Rows", ""),
            columns=values.get("Columns", ""),
            frames=values.get("NumberOfFrames", ""),
        )
