"""Builds the reference firmware for this computer; builds are kept in the user's cache folder.

On a board it is built with the board's own tools; see the ``Makefile`` beside this file.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from rpudriver.errors import ConfigError

SOURCES = Path(__file__).parent
_CORE = "cobs crc32 frame counters limits trains sample check operations pulse read session"
_PROGRAMS = {"host": f"main {_CORE} hal_host hal_options hal_chip", "fake": f"main {_CORE} hal_fake"}
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic")
_SANITIZED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Program = Literal["host", "fake"]


def build_host(
    folder: Path | None = None, sanitize: bool = False, program: Program = "host", **defines: int | str
) -> Path:
    """Return the path of the firmware, built where it is not yet.

    Parameters
    ----------
    folder : where it is put; the user's cache folder if None.
    sanitize : build it with the address and undefined-behaviour sanitizers, and refuse warnings: those of a compiler
        that is newer than the firmware are no reason not to run it.
    program : ``host`` speaks on a pseudo-terminal and needs an emulated chip; ``fake`` speaks on its standard input and
        output and needs none.
    defines : what ``board.h`` lets a board choose, for example ``ROWS=8, CHIP_NAME="bench"``.

    Raises
    ------
    ConfigError
        If there is no C compiler, or if the board contradicts itself.
    """
    defines.setdefault("FIRMWARE_HASH", int.from_bytes(firmware_hash()))
    command = [*_WARNINGS, *(_SANITIZED if sanitize else ()), "-O2"]
    command += [f"-D{name}={_literal(value)}" for name, value in sorted(defines.items())]
    command += [f"{name}.c" for name in _PROGRAMS[program].split()]
    digest = hashlib.sha256("\n".join([program, _compiler(), *command]).encode()).hexdigest()[:16]
    out = (folder or cache_folder()) / f"board-{program}-{digest}"
    if not out.exists():
        _compile([_compiler(), *command, "-lm"], out)
    return out


def firmware_hash() -> bytes:
    """Return what HELLO tells of the firmware: the first 8 bytes of the SHA-256 of its sources."""
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")], key=lambda path: path.name)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).digest()[:8]


def cache_folder() -> Path:
    """Return where builds are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rpudriver" / "firmware"


def _literal(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:#x}"


def _compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise ConfigError(
        "no C compiler (cc, gcc or clang) was found, and the emulated board is built from C; install one, for example "
        "with `apt install gcc`, or name yours in the environment variable CC"
    )


def _compile(command: list[str], out: Path) -> None:
    """Build beside `out` and move it there: what another process sees is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        built = Path(scratch) / "board"
        done = subprocess.run([*command, "-o", str(built)], cwd=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"the firmware does not compile: {' '.join(command)}\n{done.stderr.strip()[:2000]}")
        built.replace(out)
