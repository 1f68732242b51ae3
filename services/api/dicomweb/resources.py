"""What a DICOMweb URL names: the instances of a study, of a series, or one."""

from __future__ import annotations

from collections.abc import Sequence

from services.api.dependencies import Archive
from services.api.dicomweb.parameters import uid
from services.common.attributes import BY_KEYWORD
from services.common.errors import NotFound
from services.common.model import InstanceKey, Location
from services.common.query import Equals, Selection


def locate(
    archive: Archive,
    *,
    study: str,
    series: str = "",
    instance: str = "",
    headers: bool = True,
) -> Sequence[Location]:
    """The instances below the UIDs given, in order.

    Raises:
        InvalidQuery: what should be a UID is none.
        NotFound: there is no such instance.
    """
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
    conditions = tuple(
        Equals(attribute=BY_KEYWORD[keyword], value=uid(keyword, value))
        for keyword, value in named.items()
        if value
    )
    found = archive.catalog.locate(Selection(conditions=conditions, headers=headers)) if study else ()
    if not found:
        raise NotFound("the archive holds no such instance")
    return found


def locate_one(archive: Archive, study: str, series: str, instance: str) -> Location:
    """One instance, with its header.

    Raises:
        InvalidQuery: what should be a UID is none.
        NotFound: there is no such instance.
    """
    return locate(archive, study=study, series=series, instance=instance)[0]


def instance_url(base: str, key: InstanceKey) -> str:
    """Where WADO-RS gives an instance."""
    return (
        f"{base}/dicom-web/studies/{key.study_instance_uid}"
        f"/series/{key.series_instance_uid}/instances/{key.sop_instance_uid}"
    )
