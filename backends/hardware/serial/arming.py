"""The payload of ARM."""

import struct

from rpudriver.backends.hardware.driver import KindCodes, Settings

_HEAD = struct.Struct("<HBBhHHHI")
_KIND = struct.Struct("<8hhBBII")
_FLOATING = 1


def pack_settings(settings: Settings) -> bytes:
    """Return the payload of ARM for some settings."""
    head = _HEAD.pack(
        settings.watchdog_ms,
        len(settings.kinds),
        0,  # ranges
        settings.max_input,
        settings.max_bl,
        settings.compliance,
        settings.read_us,
        settings.max_run_us,
    )
    return head + b"".join(_pack_kind(kind) for kind in settings.kinds)


def _pack_kind(kind: KindCodes) -> bytes:
    lines = _FLOATING if kind.floating else 0
    return _KIND.pack(*kind.up, *kind.down, kind.gate, kind.ways, lines, kind.width_ns, kind.gap_ns)
