"""Catalog values as DICOM JSON (PS3.18 annex F), and the attributes that DICOMweb itself adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.common.attributes import Attribute
from services.common.model import Values

_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = frozenset({"IS", "DS", "US", "UL", "SS", "SL"})

Model = dict[str, Any]


def model_of(values: Values, attributes: Iterable[Attribute]) -> Model:
    """The model of `attributes`; one without a value is there without one, as for a return key of C-FIND."""
    model: Model = {}
    for attribute in sorted(attributes, key=lambda one: one.tag):
        text = values.get(attribute.keyword, "")
        model[f"{attribute.tag:08X}"] = element(attribute.vr, text)
    return model


def element(vr: str, text: str) -> dict[str, Any]:
    """One attribute of the model, its values parted by backslashes."""
    if not text:
        return {"vr": vr}
    return {"vr": vr, "Value": [_value(vr, value) for value in text.split("\\")]}


def _value(vr: str, value: str) -> Any:
    if not value:
        return None
    if vr == "PN":
        groups = zip(_PN_GROUPS, value.split("="), strict=False)
        return {name: group for name, group in groups if group}
    if vr in _NUMBERS:
        try:
            return int(value)
        except ValueError:
            return value
    return value


def retrieve_url(values: Values, base: str) -> str:
    """Where WADO-RS gives the entity: the deepest whose UID the values hold."""
    url = f"{base}/dicom-web"
    for keyword, segment in (
        ("StudyInstanceUID", "studies"),
        ("SeriesInstanceUID", "series"),
        ("SOPInstanceUID", "instances"),
    ):
        if uid := values.get(keyword):
            url += f"/{segment}/{uid}"
    return url


def with_access(model: Model, url: str) -> Model:
    """The model with Retrieve URL and Instance Availability (PS3.18 10.6.3.3)."""
    model["00080056"] = element("CS", "ONLINE")
    model["00081190"] = element("UR", url)
    return dict(sorted(model.items()))
