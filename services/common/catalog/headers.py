"""How an instance's captured header lies in its row: compressed against the first header of its series.

The headers of a series differ in some hundred bytes, so that each costs 50 to 200 bytes and not 340 to 800.
"""

from __future__ import annotations

import zlib

PLAIN = 1
"""zlib alone (RFC 1950), for a series without a dictionary."""

AGAINST_SERIES = 2
"""Raw deflate (RFC 1951) with the series' dictionary set."""

DICTIONARY_BYTES = 32 * 1024
"""As far back as deflate can refer."""


def dictionary_of(content: bytes) -> bytes | None:
    """What a series keeps of its first header, for the others to be compressed against."""
    return content[:DICTIONARY_BYTES] or None


def pack_header(content: bytes, dictionary: bytes | None) -> tuple[int, bytes]:
    """Compress a header; gives the form and what to store."""
    if not dictionary:
        return PLAIN, zlib.compress(content)
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS, zdict=dictionary)
    return AGAINST_SERIES, compressor.compress(content) + compressor.flush()


def unpack_header(form: int, stored: bytes, dictionary: bytes | None) -> bytes:
    """The header's content (`CapturedHeader.content`) as it was captured.

    Raises:
        ValueError: no such form is known, or the series has lost its dictionary.
    """
    if form == PLAIN:
        return zlib.decompress(stored)
    if form != AGAINST_SERIES or not dictionary:
        raise ValueError(
            f"a header of form {form} cannot be read {'with' if dictionary else 'without'} dictionary"
        )
    decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=dictionary)
    return decompressor.decompress(stored) + decompressor.flush()
