"""Monochrome pixels to 8 bits for display: Modality LUT, VOI LUT, polarity (PS3.4 N.2)."""

from __future__ import annotations

import numpy as np

from services.common.pixels.description import ImageDescription
from services.common.pixels.layout import Pixels, stored_values
from services.common.pixels.options import Window
from services.common.pixels.presentation import Numbers, Presentation

_DIRECT_BITS = 16
"""Up to here every possible value is transformed once, in a table, rather than every pixel."""


def to_display(pixels: Pixels, image: ImageDescription, presentation: Presentation) -> Pixels:
    """Grey levels 0 to 255, black to white, for one monochrome frame."""
    values = stored_values(pixels, image)
    window = presentation.window
    if window is None and presentation.voi_lut is None:
        window = _whole_range(values, image, presentation)
    if image.bits_stored > _DIRECT_BITS:
        return _transform(values, image, presentation, window)
    # NumPy reads a table at a negative index from its end, which is where two's complement puts it.
    size = 1 << image.bits_stored
    inputs = np.arange(size, dtype=np.int64)
    if image.is_signed:
        inputs[size // 2 :] -= size
    table = _transform(inputs, image, presentation, window)
    return table[values]


def _transform(
    values: Numbers, image: ImageDescription, presentation: Presentation, window: Window | None
) -> Pixels:
    output = _modality(values, presentation)
    if window is not None:
        level = _windowed(output, window)
    else:
        assert presentation.voi_lut is not None  # where there is neither, the whole range is the window
        level = presentation.voi_lut(output) / float((1 << presentation.voi_lut.bits) - 1)
    level = np.clip(level, 0.0, 1.0)
    if image.photometric_interpretation == "MONOCHROME1":
        level = 1.0 - level
    return np.rint(level * 255.0).astype(np.uint8)


def _modality(values: Numbers, presentation: Presentation) -> Numbers:
    if presentation.modality_lut is not None:
        return presentation.modality_lut(values).astype(np.float64)
    return values * presentation.slope + presentation.intercept


def _windowed(x: Numbers, window: Window) -> Numbers:
    """Levels 0.0 to 1.0, or beyond where the window ends (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = window.centre, window.width
    with np.errstate(over="ignore"):
        if window.function == "SIGMOID":
            return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (x - centre) / width)))
        if window.function == "LINEAR_EXACT":
            return np.asarray((x - centre) / width + 0.5)
        if width <= 1.0:
            return np.asarray((x > centre - 0.5).astype(np.float64))
        return np.asarray((x - (centre - 0.5)) / (width - 1.0) + 0.5)


def _whole_range(values: Numbers, image: ImageDescription, presentation: Presentation) -> Window:
    """A window for an image that names none: all of an 8-bit image's range, which its maker meant to be
    seen as it is, else what the frame uses, padding aside."""
    if image.bits_stored <= 8 and presentation.modality_lut is None:
        span = 1 << image.bits_stored
        extremes = np.array([0, span - 1]) - (span // 2 if image.is_signed else 0)
    else:
        used = values
        if presentation.padding is not None:
            first, last = presentation.padding
            inside = values[(values < first) | (values > last)]
            used = inside if inside.size else values
        # A table may put the smallest value anywhere; without one the two ends tell all.
        extremes = np.array([used.min(), used.max()], dtype=np.int64)
        if presentation.modality_lut is not None:
            extremes = np.unique(used)
    ends = _modality(extremes, presentation)
    low, high = float(ends.min()), float(ends.max())
    return Window(centre=(low + high) / 2, width=max(high - low, 1e-9), function="LINEAR_EXACT")
