"""Reading what is asked of a picture (PS3.18 8.3.5); pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.common.errors import InvalidQuery
from services.common.pixels.options import RenderOptions, Viewport, Window

LARGEST_VIEWPORT = 8192

_FUNCTIONS = {"": "LINEAR", "linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?", re.ASCII)


def options_of(parameters: Mapping[str, str], media_type: str) -> RenderOptions:
    """Read ``quality``, ``window`` and ``viewport``; other parameters count for nothing.

    Raises:
        InvalidQuery: one is broken.
    """
    options = RenderOptions(media_type=media_type)
    if quality := parameters.get("quality"):
        (value,) = _numbers("quality", [quality])
        if not 1 <= value <= 100:
            raise InvalidQuery("quality is 1 to 100")
        options = replace(options, quality=int(value))
    if window := parameters.get("window"):
        options = replace(options, window=_window(window))
    if viewport := parameters.get("viewport"):
        options = replace(options, viewport=_viewport(viewport))
    return options


def _window(text: str) -> Window:
    """Centre, width and, if the client likes, function (PS3.18 8.3.5.1.4)."""
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 3:
        raise InvalidQuery("a window is centre, width and function")
    centre, width = _numbers("window", parts[:2])
    function = _FUNCTIONS.get(parts[2].lower() if len(parts) > 2 else "")
    if function is None:
        raise InvalidQuery("a window's function is linear, linear-exact or sigmoid")
    # PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2: what the functions can divide by.
    if width < 1 if function == "LINEAR" else width <= 0:
        raise InvalidQuery("a window's width is at least 1, and greater than 0 for the other functions")
    return Window(centre=centre, width=width, function=function)


def _viewport(text: str) -> Viewport:
    """Width and height of the viewport, then x, y, width and height of the region (PS3.18 8.3.5.1.3)."""
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise InvalidQuery("a viewport is two to six numbers")
    width, height = _numbers("viewport", parts[:2])
    if not all(1 <= side <= LARGEST_VIEWPORT for side in (width, height)):
        raise InvalidQuery(f"a viewport has 1 to {LARGEST_VIEWPORT} pixels a side")
    region = [int(_numbers("viewport", [part])[0]) if part else None for part in parts[2:]]
    region += [None] * (4 - len(region))
    x, y, source_width, source_height = region
    return Viewport(
        width=int(width),
        height=int(height),
        source_x=x or 0,
        source_y=y or 0,
        source_width=source_width,
        source_height=source_height,
    )


def _numbers(name: str, parts: Sequence[str]) -> Sequence[float]:
    if not all(map(_NUMBER.fullmatch, parts)):
        raise InvalidQuery(f"{name} cannot be read")
    return [float(part) for part in parts]
