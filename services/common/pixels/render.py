"""One frame as a picture for people: JPEG, PNG or GIF (PS3.18 8.3.5 and 8.7.4).

Runs in a codec process; `services.common.pixels.jobs` is the way in.
"""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image
from pydicom.dataset import Dataset

from services.common.errors import NotAcceptable
from services.common.pixels import colour, grayscale
from services.common.pixels.codecs import Decoded
from services.common.pixels.description import MONOCHROME, ImageDescription
from services.common.pixels.options import MEDIA_TYPES, RenderOptions, Viewport
from services.common.pixels.presentation import presentation_of

_MAX_SIDE = 8192


def render(
    decoded: Decoded, image: ImageDescription, data_set: Dataset, frame: int, options: RenderOptions
) -> bytes:
    """The picture of a decoded frame, with index `frame`, of an image whose attributes `data_set` holds.

    Raises:
        NotAcceptable: the pixels have no meaning that is known, or the options no sense.
    """
    presentation = presentation_of(data_set, frame)
    if options.window is not None:
        presentation = replace(presentation, window=options.window)
    if image.samples_per_pixel == 3:
        picture = Image.fromarray(colour.to_rgb(decoded.pixels, image, decoded.photometric_interpretation))
    elif image.photometric_interpretation == "PALETTE COLOR":
        picture = Image.fromarray(colour.from_palette(decoded.pixels, image, data_set))
    else:
        known = image.photometric_interpretation in MONOCHROME
        as_grey = image if known else replace(image, photometric_interpretation="MONOCHROME2")
        picture = Image.fromarray(grayscale.to_display(decoded.pixels, as_grey, presentation))
    return _encoded(_sized(picture, presentation.aspect, options), options)


def _sized(picture: Image.Image, aspect: float, options: RenderOptions) -> Image.Image:
    """Cropped, flipped and scaled, with square pixels."""
    if options.viewport is not None:
        picture = _region(picture, options.viewport)
    width, height = picture.width / min(aspect, 1.0), picture.height * max(aspect, 1.0)
    scale = min(1.0, _MAX_SIDE / max(width, height))
    if options.viewport is not None:
        scale = min(options.viewport.width / width, options.viewport.height / height)
    elif options.longest_side is not None:
        scale = min(1.0, options.longest_side / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == picture.size:
        return picture
    smaller = size[0] <= picture.width and size[1] <= picture.height
    return picture.resize(
        size, Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC, reducing_gap=3.0
    )


def _region(picture: Image.Image, viewport: Viewport) -> Image.Image:
    if not (1 <= viewport.width <= _MAX_SIDE and 1 <= viewport.height <= _MAX_SIDE):
        raise NotAcceptable(f"a viewport has 1 to {_MAX_SIDE} pixels on each side")
    width = picture.width - viewport.source_x if viewport.source_width is None else viewport.source_width
    height = picture.height - viewport.source_y if viewport.source_height is None else viewport.source_height
    left, top = max(0, viewport.source_x), max(0, viewport.source_y)
    right, bottom = min(picture.width, left + abs(width)), min(picture.height, top + abs(height))
    if left >= right or top >= bottom:
        raise NotAcceptable("the viewport shows no part of the image")
    region = picture.crop((left, top, right, bottom))
    if width < 0:
        region = region.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return region.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height < 0 else region


def _encoded(picture: Image.Image, options: RenderOptions) -> bytes:
    form = MEDIA_TYPES.get(options.media_type)
    if form is None:
        raise NotAcceptable(f"no picture is made as {options.media_type[:40]!r}")
    if not 1 <= options.quality <= 100:
        raise NotAcceptable("quality is a number from 1 to 100")
    out = io.BytesIO()
    if form == "JPEG":
        picture.save(out, form, quality=options.quality)
    else:
        picture.save(out, form)
    return out.getvalue()
