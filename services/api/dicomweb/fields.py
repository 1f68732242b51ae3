"""What a search returns: the attributes of its level, and what ``includefield`` adds (PS3.18 10.6.3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.datadict import tag_for_keyword

from services.common.attributes import ATTRIBUTES
from services.common.model import Level

DEFAULT_COLUMNS = {
    Level.STUDY: (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "NumberOfSeriesRelatedInstances",
    ),
    Level.IMAGE: (
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
    ),
}
"""What is returned by default and has a column (PS3.18 tables 10.6.3-3 to 10.6.3-5)."""

_TIMEZONE_OFFSET = 0x00080201
DEFAULT_OTHERS = {
    Level.STUDY: (_TIMEZONE_OFFSET,),
    Level.SERIES: (_TIMEZONE_OFFSET, 0x00400275),
    Level.IMAGE: (_TIMEZONE_OFFSET,),
}
"""What is returned by default and is read from a header."""

_STUDY_KEYWORDS = (
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "RequestingPhysician",
    "RequestingService",
    "ReasonForVisit",
    "AdmissionID",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "TimezoneOffsetFromUTC",
)
_SERIES_KEYWORDS = (
    "Manufacturer",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "SeriesDescriptionCodeSequence",
    "OperatorsName",
    "PhysiciansReading",
    "ReferencedPerformedProcedureStepSequence",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "PatientPosition",
    "Laterality",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "PerformedProcedureStepID",
    "PerformedProcedureStepDescription",
    "PerformedProtocolCodeSequence",
    "RequestAttributesSequence",
    "CommentsOnThePerformedProcedureStep",
)
_PATIENT_GROUP = 0x0010


def columns_by_default(level: Level, named: Sequence[str]) -> Sequence[str]:
    """Keywords of the level's columns, and of those above that the URL's `named` UIDs leave open."""
    keywords = [*named, *DEFAULT_COLUMNS[level]]
    if level >= Level.SERIES and "StudyInstanceUID" not in named:
        keywords += DEFAULT_COLUMNS[Level.STUDY]
    if level is Level.IMAGE and "SeriesInstanceUID" not in named:
        keywords += DEFAULT_COLUMNS[Level.SERIES]
    return keywords


def all_columns(level: Level) -> Sequence[str]:
    """Keywords of the columns that ``includefield=all`` returns: the level's own and those above."""
    return [a.keyword for a in ATTRIBUTES if a.level <= level and a.keyword not in _OF_PATIENT]


def belongs(tag: int, level: Level) -> bool:
    """Whether ``includefield=all`` returns it: all of an instance, and what a study or series has itself.

    An instance's header answers for its study, so that what only holds for the instance must stay out.
    """
    return level is Level.IMAGE or tag >> 16 == _PATIENT_GROUP or tag in _OWN[level]


def _tags(keywords: Sequence[str]) -> frozenset[int]:
    return frozenset(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)


_OWN = {
    Level.STUDY: _tags(_STUDY_KEYWORDS),
    Level.SERIES: _tags((*_STUDY_KEYWORDS, *_SERIES_KEYWORDS)),
}
_OF_PATIENT = frozenset(
    ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
)
"""Counted for C-FIND at PATIENT level alone."""
