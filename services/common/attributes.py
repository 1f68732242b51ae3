"""The one table of attributes that have a column of their own: tag, VR, level, column, how it matches.

Whatever is not here is answered from the stored header and is not matched on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.common.model import Level


class Matching(Enum):
    """The family of PS3.4 C.2.2.2 that a key of the attribute belongs to."""

    UID = "uid"
    TEXT = "text"
    NAME = "name"
    DATE = "date"
    TIME = "time"
    NUMBER = "number"
    SET = "set"
    """The attribute of PS3.4 C.6 that gathers values below: one of them matches."""
    COUNT = "count"
    """A number that is counted, returned and never matched."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table."""

    keyword: str
    tag: int
    vr: str
    level: Level
    column: str
    matching: Matching
    match_column: str = ""
    """The column that is matched on, where it is not `column`: a folded name, a number as an integer."""
    trigram_column: str = ""
    """The column of `matching.trigrams` of a folded name, where there is one."""

    @property
    def is_unique_key(self) -> bool:
        """Whether it is the unique key of its level (PS3.4 C.6.1.1 and C.6.2.1)."""
        return self.keyword in _UNIQUE_KEYS


_UNIQUE_KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

_P, _S, _R, _I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE
_UID, _TEXT, _NAME, _DATE, _TIME, _NUMBER, _SET, _COUNT = Matching

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("PatientName", 0x00100010, "PN", _P, "patient_name", _NAME, "name_folded", "name_trigrams"),
    Attribute("PatientID", 0x00100020, "LO", _P, "patient_id", _TEXT),
    Attribute("IssuerOfPatientID", 0x00100021, "LO", _P, "issuer", _TEXT),
    Attribute("PatientBirthDate", 0x00100030, "DA", _P, "birth_date", _DATE),
    Attribute("PatientBirthTime", 0x00100032, "TM", _P, "birth_time", _TIME),
    Attribute("PatientSex", 0x00100040, "CS", _P, "sex", _TEXT),
    Attribute("NumberOfPatientRelatedStudies", 0x00201200, "IS", _P, "number_of_studies", _COUNT),
    Attribute("NumberOfPatientRelatedSeries", 0x00201202, "IS", _P, "number_of_series", _COUNT),
    Attribute("NumberOfPatientRelatedInstances", 0x00201204, "IS", _P, "number_of_instances", _COUNT),
    Attribute("StudyInstanceUID", 0x0020000D, "UI", _S, "study_instance_uid", _UID),
    Attribute("StudyDate", 0x00080020, "DA", _S, "study_date", _DATE),
    Attribute("StudyTime", 0x00080030, "TM", _S, "study_time", _TIME),
    Attribute("AccessionNumber", 0x00080050, "SH", _S, "accession_number", _TEXT),
    Attribute("StudyID", 0x00200010, "SH", _S, "study_id", _TEXT),
    Attribute("StudyDescription", 0x00081030, "LO", _S, "study_description", _TEXT),
    Attribute(
        "ReferringPhysicianName", 0x00080090, "PN", _S, "referring_physician_name", _NAME, "referring_folded"
    ),
    Attribute("ModalitiesInStudy", 0x00080061, "CS", _S, "modalities", _SET),
    Attribute("SOPClassesInStudy", 0x00080062, "UI", _S, "sop_classes", _SET),
    Attribute("NumberOfStudyRelatedSeries", 0x00201206, "IS", _S, "number_of_series", _COUNT),
    Attribute("NumberOfStudyRelatedInstances", 0x00201208, "IS", _S, "number_of_instances", _COUNT),
    Attribute("SeriesInstanceUID", 0x0020000E, "UI", _R, "series_instance_uid", _UID),
    Attribute("Modality", 0x00080060, "CS", _R, "modality", _TEXT),
    Attribute("SeriesNumber", 0x00200011, "IS", _R, "series_number", _NUMBER, "series_order"),
    Attribute("SeriesDescription", 0x0008103E, "LO", _R, "series_description", _TEXT),
    Attribute("SeriesDate", 0x00080021, "DA", _R, "series_date", _DATE),
    Attribute("SeriesTime", 0x00080031, "TM", _R, "series_time", _TIME),
    Attribute("BodyPartExamined", 0x00180015, "CS", _R, "body_part_examined", _TEXT),
    Attribute("ProtocolName", 0x00181030, "LO", _R, "protocol_name", _TEXT),
    Attribute("StationName", 0x00081010, "SH", _R, "station_name", _TEXT),
    Attribute("InstitutionName", 0x00080080, "LO", _R, "institution_name", _TEXT),
    Attribute(
        "PerformingPhysicianName",
        0x00081050,
        "PN",
        _R,
        "performing_physician_name",
        _NAME,
        "performing_folded",
    ),
    Attribute("PerformedProcedureStepStartDate", 0x00400244, "DA", _R, "performed_date", _DATE),
    Attribute("PerformedProcedureStepStartTime", 0x00400245, "TM", _R, "performed_time", _TIME),
    Attribute("NumberOfSeriesRelatedInstances", 0x00201209, "IS", _R, "number_of_instances", _COUNT),
    Attribute("SOPInstanceUID", 0x00080018, "UI", _I, "sop_instance_uid", _UID),
    Attribute("SOPClassUID", 0x00080016, "UI", _I, "sop_class_uid", _UID),
    Attribute("InstanceNumber", 0x00200013, "IS", _I, "instance_number", _NUMBER, "instance_order"),
    Attribute("ContentDate", 0x00080023, "DA", _I, "content_date", _DATE),
    Attribute("ContentTime", 0x00080033, "TM", _I, "content_time", _TIME),
    Attribute("AcquisitionDate", 0x00080022, "DA", _I, "acquisition_date", _DATE),
    Attribute("AcquisitionTime", 0x00080032, "TM", _I, "acquisition_time", _TIME),
    Attribute("InstanceCreationDate", 0x00080012, "DA", _I, "creation_date", _DATE),
    Attribute("InstanceCreationTime", 0x00080013, "TM", _I, "creation_time", _TIME),
    Attribute("Rows", 0x00280010, "US", _I, "rows", _NUMBER),
    Attribute("Columns", 0x00280011, "US", _I, "columns", _NUMBER),
    Attribute("BitsAllocated", 0x00280100, "US", _I, "bits_allocated", _NUMBER),
    Attribute("NumberOfFrames", 0x00280008, "IS", _I, "number_of_frames", _NUMBER),
)

BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}
BY_TAG = {attribute.tag: attribute for attribute in ATTRIBUTES}
