"""How long a file says it is, in bytes: one that is shorter is truncated, one that does not know promises nothing."""

from __future__ import annotations

import struct
from math import inf

MATROSKA, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # a segment is the element that holds all the rest
FILESIZE = b"filesize\0"  # a number in the metadata of FLV

SIZED = frozenset(("matroska", "avi", "flv"))  # FFmpeg's names of the formats that say


def promised_bytes(head: bytes) -> int | None:
    """Bytes that a Matroska, WebM or AVI file must have, by its first ones.

    None where the length is unknown, since the file was written to a pipe or its recorder was killed, FLV too; 0 where
    nothing is promised. FLV's number promises nothing: tools that write to its metadata leave the old one.
    """
    if head.startswith(b"RIFF"):
        length = int.from_bytes(head[4:8], "little")  # some writers count these 8 bytes, some do not
        return None if length in (0, 0xFFFFFFFF) else length
    if head.startswith(b"FLV"):
        offset = head.lower().find(FILESIZE) + len(FILESIZE)
        if not len(FILESIZE) <= offset <= len(head) - 8:
            return None
        (number,) = struct.unpack(">d", head[offset : offset + 8])
        return 0 if 0 < number < inf else None
    offset = head.find(SEGMENT) + len(SEGMENT)
    if not head.startswith(MATROSKA) or not len(SEGMENT) <= offset < len(head):
        return 0
    width = 9 - head[offset].bit_length()
    unknown = (1 << 7 * width) - 1
    segment = int.from_bytes(head[offset : offset + width]) & unknown
    return None if segment == unknown else offset + width + segment
