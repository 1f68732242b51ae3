"""How one frame is meant to look: what its data set says of value transforms, windows and pixel shape.

Read with pydicom in the codec process, for nested sequences and look-up tables are foreign bytes too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from services.common.pixels import tables
from services.common.pixels.options import Window

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1 and C.11.2.1.1): `first` is the input of entry 0."""

    first: int
    entries: Numbers
    bits: int

    def __call__(self, values: Numbers) -> Numbers:
        """The entries for `values`; inputs beyond the table take its ends."""
        index = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        found: Numbers = self.entries[index]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """The value transforms of one frame; `aspect` is the height of a pixel over its width."""

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookUpTable | None = None
    window: Window | None = None
    voi_lut: LookUpTable | None = None
    padding: tuple[int, int] | None = None
    aspect: float = 1.0


def presentation_of(data_set: Dataset, frame: int) -> Presentation:
    """What the data set says of the frame with index `frame`: its own functional groups before the shared
    ones, and these before the top level (PS3.3 C.7.6.16).

    A value that cannot be read counts as absent, for a picture with a guessed window shows more than none.
    """
    scopes = list(_scopes(data_set, frame))
    signed = data_set.get("PixelRepresentation") == 1
    return Presentation(
        slope=_number(scopes, "RescaleSlope") or 1.0,
        intercept=_number(scopes, "RescaleIntercept") or 0.0,
        modality_lut=_table(scopes, "ModalityLUTSequence", signed),
        window=_window(scopes),
        voi_lut=_table(scopes, "VOILUTSequence", signed),
        padding=_padding(data_set),
        aspect=_aspect(scopes),
    )


def _scopes(data_set: Dataset, frame: int) -> Iterator[Dataset]:
    """Where to look for an attribute, nearest first."""
    for groups in (
        _item(data_set, "PerFrameFunctionalGroupsSequence", frame),
        _item(data_set, "SharedFunctionalGroupsSequence", 0),
    ):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"):
            found = _item(groups, name, 0) if groups is not None else None
            if found is not None:
                yield found
    yield data_set


def _item(data_set: Dataset, keyword: str, index: int) -> Dataset | None:
    try:
        return data_set[keyword].value[index]  # type: ignore[no-any-return]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None


def _numbers(scopes: list[Dataset], keyword: str) -> list[float]:
    for scope in scopes:
        try:
            value = scope.get(keyword)
            several = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
            numbers = [float(n) for n in several if n is not None and n != ""]
        except (ValueError, TypeError, OverflowError):
            continue
        if numbers and all(map(math.isfinite, numbers)):
            return numbers
    return []


def _number(scopes: list[Dataset], keyword: str) -> float | None:
    return next(iter(_numbers(scopes, keyword)), None)


def _window(scopes: list[Dataset]) -> Window | None:
    centre, width = _number(scopes, "WindowCenter"), _number(scopes, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = next((str(s.get("VOILUTFunction")) for s in scopes if s.get("VOILUTFunction")), "LINEAR")
    return Window(centre=centre, width=width, function=function.strip().upper())


def _table(scopes: list[Dataset], keyword: str, signed: bool) -> LookUpTable | None:
    item = next((found for s in scopes if (found := _item(s, keyword, 0)) is not None), None)
    if item is None:
        return None
    try:
        count, first, bits = (int(n) for n in item["LUTDescriptor"].value)
        entries = tables.entries(item, "LUTData", count or tables.MAX_ENTRIES)
    except (KeyError, ValueError, TypeError):
        return None
    first = (first ^ 0x8000) - 0x8000 if signed and first >= 0 else first
    if not len(entries) or not 1 <= bits <= 16:
        return None
    return LookUpTable(first=first, entries=entries, bits=bits)


def _padding(data_set: Dataset) -> tuple[int, int] | None:
    """Pixel Padding Value up to Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = data_set.get("PixelPaddingValue")
    limit = data_set.get("PixelPaddingRangeLimit", value)
    if not isinstance(value, int):
        return None
    limit = limit if isinstance(limit, int) else value
    return min(value, limit), max(value, limit)


def _aspect(scopes: list[Dataset]) -> float:
    """PS3.3 C.7.6.3.1.7: the first value is vertical."""
    for keyword in ("PixelSpacing", "PixelAspectRatio", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        numbers = _numbers(scopes, keyword)
        if len(numbers) == 2 and min(numbers) > 0 and 0.01 <= numbers[0] / numbers[1] <= 100:
            return numbers[0] / numbers[1]
    return 1.0
