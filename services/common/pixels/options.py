"""What may be asked of a picture (PS3.18 8.3.5)."""

from __future__ import annotations

from dataclasses import dataclass

MEDIA_TYPES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}
"""The media types that can be made, and what Pillow calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2); `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    centre: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """PS3.18 8.3.5.1.3: fit a region of the image into `width` x `height`.

    A source width or height of None reaches to the edge, a negative one flips the picture.
    """

    width: int
    height: int
    source_x: int = 0
    source_y: int = 0
    source_width: int | None = None
    source_height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """What the asker wants; `window` takes the place of the data set's own.

    `longest_side` shrinks a picture that is larger, and never enlarges one.
    """

    media_type: str = "image/jpeg"
    quality: int = 90
    window: Window | None = None
    viewport: Viewport | None = None
    longest_side: int | None = None


THUMBNAIL = RenderOptions(quality=80, longest_side=200)
