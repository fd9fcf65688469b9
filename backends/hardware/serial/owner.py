"""Who holds a serial port, and which ports there are: what errors about ports tell."""

import os
from pathlib import Path

from serial.tools import list_ports


def holder(port: str) -> str:
    """Return the process that has locked a port, in words; Linux knows it, elsewhere nobody is named."""
    try:
        inode = os.stat(port).st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 1234 00:18:5 0 EOF
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == str(inode):
                return f"process {fields[4]} ({_command(fields[4])})"
    except (OSError, IndexError):
        pass
    return "another process"


def _command(process: str) -> str:
    words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    return b" ".join(words).decode(errors="replace").strip()[:120]


def ports_seen() -> str:
    """Return the serial ports of this machine, in words."""
    ports = [f"{port.device} ({port.description})" for port in list_ports.comports()]
    return "ports seen here: " + (", ".join(sorted(ports)) or "none")
