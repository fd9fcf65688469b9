"""Consistent overhead byte stuffing: bytes without a zero among them, one more for every 254 at most.

S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7 (1999) 159.
"""

import numpy as np

from rpudriver.keyed.native import compiled

_RUN = 254  # bytes that one code byte may stand for


@compiled
def _encode(data, out):  # type: ignore[no-untyped-def]
    code, at, run = 0, 1, 1
    for byte in data:
        if run > _RUN:
            out[code] = run
            code, run = at, 1
            at += 1
        if byte == 0:
            out[code] = run
            code, run = at, 1
            at += 1
        else:
            out[at] = byte
            at += 1
            run += 1
    out[code] = run
    return at


@compiled
def _decode(data, out):  # type: ignore[no-untyped-def]
    """Return how many bytes came out, -1 where `data` is no whole encoding."""
    at, written = np.int64(0), np.int64(0)
    while at < len(data):
        run = np.int64(data[at])
        if run == 0 or at + run > len(data):
            return -1
        for i in range(1, run):
            if data[at + i] == 0:
                return -1
            out[written] = data[at + i]
            written += 1
        at += run
        if run <= _RUN and at < len(data):
            out[written] = 0
            written += 1
    return written


def encode(data: bytes) -> bytes:
    """Return `data` without zero bytes."""
    out = np.empty(len(data) + len(data) // _RUN + 1, np.uint8)
    return out[: _encode(np.frombuffer(data, np.uint8), out)].tobytes()


def decode(data: bytes) -> bytes | None:
    """Return what `encode` was given, None where this is no encoding."""
    out = np.empty(len(data), np.uint8)
    written = _decode(np.frombuffer(data, np.uint8), out)
    return None if written < 0 else out[:written].tobytes()
