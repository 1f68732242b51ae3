"""Tell again what was told when an original was accepted, from the object store alone."""

from __future__ import annotations

import hashlib
import io

from services.common import keys
from services.common.intake.checks import Announcement, identify, without_padding
from services.common.intake.notes import digests_of, source_of
from services.common.model import BlobRef, Digests, StoredInstance
from services.common.part10 import CAPTURE_LIMIT, Header, HeaderScanner, complete, read_file_meta
from services.common.ports import BlobStat, BlobStore

_BEGINNING = 80 * 1024
_CHUNK_BYTES = 1024 * 1024
_NOTHING = HeaderScanner("1.2.840.10008.1.2").finish()  # of no byte yet, the same in every transfer syntax


def recover(store: BlobStore, stat: BlobStat) -> StoredInstance:
    """What intake knew of the original that `stat` describes (as `list` or `stat` gives it).

    Only the header is read, by ranges; all bytes where the digests are not beside the blob.

    Raises:
        BlobMissing: the blob has gone.
        InvalidInstance: the blob is no instance that intake would have stored.
    """
    stat = stat if stat.metadata else store.stat(stat.key)
    blob = BlobRef(bucket=store.bucket, key=stat.key, offset=0, length=stat.size)
    beginning = _read(store, blob, 0, _BEGINNING)
    meta = read_file_meta(io.BytesIO(beginning))
    start = meta.data_set_offset

    def read(offset: int, length: int) -> bytes:
        return beginning[start + offset : start + offset + length] or _read(
            store, blob, start + offset, length
        )

    syntax = meta.transfer_syntax_uid
    header = whole = complete(_NOTHING, syntax, read, blob.length - start)
    if len(whole.content) > CAPTURE_LIMIT:
        header = complete(_NOTHING, syntax, read, blob.length - start, limit=CAPTURE_LIMIT)
    announced = Announcement(
        transfer_syntax_uid=syntax,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
    )
    return StoredInstance(
        key=identify(Header(whole, syntax).text, announced),
        sop_class_uid=without_padding(meta.sop_class_uid),
        transfer_syntax_uid=syntax,
        blob=blob,
        data_set_offset=start,
        digests=digests_of(stat.metadata) or _digest(store, blob, start),
        received_at=keys.received_at(stat.key) if keys.is_timed(stat.key) else stat.modified,
        source=source_of(stat.metadata, calling_aet=meta.sending_aet, called_aet=meta.receiving_aet),
        header=header,
    )


def _read(store: BlobStore, ref: BlobRef, offset: int, length: int) -> bytes:
    """Bytes of `ref` from `offset` on, fewer than `length` at its end."""
    wanted = max(0, min(length, ref.length - offset))
    with store.open(ref.part(min(offset, ref.length), wanted)) as stream:
        return stream.readall()


def _digest(store: BlobStore, blob: BlobRef, data_set_offset: int) -> Digests:
    """Both digests, of every byte read anew."""
    file, data_set = hashlib.sha256(), hashlib.sha256()
    with io.BufferedReader(store.open(blob), _CHUNK_BYTES) as stream:
        file.update(stream.read(data_set_offset))
        while chunk := stream.read(_CHUNK_BYTES):
            file.update(chunk)
            data_set.update(chunk)
    return Digests(data_set=data_set.hexdigest(), file=file.hexdigest())
