"""The firmware builds: for this computer, other boards, a microcontroller; without heap, floats or recursion."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rpudriver.backends.hardware.firmware.build import SOURCES, build_host, cache_folder, firmware_hash
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.validation import Limits
from rpudriver.errors import ConfigError
from tests.backends.hardware.firmware.boards import BOOT, session
from tests.backends.hardware.firmware.payloads import Arm, Kind, one, pulse
from tests.backends.hardware.firmware.wire import ARM, HELLO, frame, message

CROSS = "arm-none-eabi-"
PROPER = "main cobs crc32 frame counters limits trains sample check operations pulse read session"
needs_cross = pytest.mark.skipif(
    not shutil.which(f"{CROSS}gcc"), reason="needs arm-none-eabi-gcc (apt: gcc-arm-none-eabi libnewlib-arm-none-eabi)"
)
needs_make = pytest.mark.skipif(not (shutil.which("make") and shutil.which("cc")), reason="needs make and cc")


def said(program: Path, data: bytes) -> list[bytes]:
    done = subprocess.run([program, "/dev/null"], input=data, capture_output=True, check=True, timeout=20)
    return [message(piece).payload for piece in done.stdout.split(b"\0") if piece]


def test_hello_tells_the_hash_of_the_sources(stream_build: Path) -> None:
    (hello,) = said(stream_build, frame(HELLO, bytes(8)))
    assert hello[24:32] == firmware_hash()


def test_the_board_bears_what_its_chip_profile_asks_for(stream_build: Path) -> None:
    """emulated-64: what the host arms it with is allowed, and sizes are those of the profile."""
    profile = load_chip("emulated-64")
    asked = profile.settings(Limits())
    kinds = tuple(Kind(k.up, k.down, k.gate, k.ways, 0, k.width_ns, k.gap_ns) for k in asked.kinds)
    arm = Arm(
        asked.watchdog_ms, 0, asked.max_input, asked.max_bl, asked.compliance, asked.read_us, asked.max_run_us, kinds
    )
    hello, armed = said(stream_build, frame(HELLO, bytes(8)) + frame(ARM, arm.pack(), BOOT, 1))
    assert len(armed) == 4
    assert hello[32:48].rstrip(b"\0").decode() == profile.chip
    sizes = (profile.arrays, profile.rows, profile.columns)
    assert tuple(int.from_bytes(hello[n : n + 2], "little") for n in (48, 50, 52)) == sizes
    assert tuple(hello[54:56]) == (profile.converters.input_bits, profile.converters.output_bits)


def test_a_build_is_kept_and_another_board_is_another_build(tmp_path: Path) -> None:
    small = build_host(tmp_path, program="fake", ROWS=10, COLUMNS=7, ARRAYS=2, CHIP_NAME="odd", MAX_LINE=700)
    written = small.stat().st_mtime_ns
    assert build_host(tmp_path, program="fake", ROWS=10, COLUMNS=7, ARRAYS=2, CHIP_NAME="odd", MAX_LINE=700) == small
    assert small.stat().st_mtime_ns == written
    assert build_host(tmp_path, program="fake", ROWS=11) != small
    assert {path.name for path in tmp_path.iterdir()} == {
        small.name,
        build_host(tmp_path, program="fake", ROWS=11).name,
    }
    (hello,) = said(small, frame(HELLO, bytes(8)))
    assert (hello[32:36], hello[48:54], hello[68:70]) == (b"odd\0", b"\2\0\x0a\0\7\0", (700).to_bytes(2, "little"))
    assert [len(reply) for reply in said(small, session(pulse(one(), row=9, column=6), max_bl=5))] == [4, 1]


def test_builds_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rpudriver" / "firmware"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "rpudriver" / "firmware"


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match=r"no C compiler .* `apt install gcc`"):
        build_host(tmp_path)


@pytest.mark.parametrize("defines", [{"MAX_INPUT": 64}, {"ROWS": 0}, {"CHIP_NAME": "a name that is too long"}])
def test_a_board_that_contradicts_itself_does_not_compile(tmp_path: Path, defines: dict[str, int | str]) -> None:
    with pytest.raises(ConfigError, match="does not compile"):
        build_host(tmp_path, **defines)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@needs_make
def test_make_builds_what_build_host_builds(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "-C", SOURCES, "fake", f"BUILD={tmp_path}"], check=True, timeout=60)
    (hello,) = said(tmp_path / "board-fake", frame(HELLO, bytes(8)))
    assert hello[24:32] == firmware_hash()


@needs_cross
@needs_make
def test_it_links_for_cortex_m_and_fits_a_small_board(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-s", "-C", SOURCES, "arm", f"BUILD={tmp_path}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    sizes = [tuple(map(int, line.split()[:3])) for line in done.stdout.splitlines()[1:]]
    assert len(sizes) == 2
    for text, data, bss in sizes:
        assert 6_000 < text < 32 * 1024
        assert data + bss < 32 * 1024


@needs_cross
def test_the_firmware_proper_has_no_heap_no_floats_and_no_recursion(tmp_path: Path) -> None:
    """What its objects call is themselves, the hardware layer and copying; soft floats would show as calls."""
    flags = ["-std=c99", "-Os", "-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=soft", "-fno-inline", "-fcallgraph-info"]
    for name in PROPER.split():
        subprocess.run([f"{CROSS}gcc", *flags, "-c", SOURCES / f"{name}.c"], cwd=tmp_path, check=True, timeout=60)
    listing = subprocess.run([f"{CROSS}nm", *tmp_path.glob("*.o")], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r" U (\S+)", listing)) - set(re.findall(r" [TtDdBbRr] (\S+)", listing))
    allowed = {"memcpy", "memset", "memmove", "__aeabi_uldivmod", "__aeabi_ldivmod"}  # 64-bit division
    assert {name for name in needed if not name.startswith("hal_")} <= allowed
    assert not cycles(tmp_path)


def cycles(folder: Path) -> set[str]:
    """Return the functions that can reach themselves, from the compiler's call graphs."""
    calls: dict[str, set[str]] = {}
    for graph in folder.glob("*.ci"):
        for caller, called in re.findall(r'edge: \{ sourcename: "(\S+)" targetname: "(\S+)"', graph.read_text()):
            calls.setdefault(caller.split(":")[-1], set()).add(called.split(":")[-1])
    assert calls["operations_run"] >= {"pulse_run", "read_run"}, "the call graphs were read"
    reach = {name: set(found) for name, found in calls.items()}
    for _ in calls:
        for found in reach.values():
            found |= set().union(*(reach.get(name, set()) for name in found))
    return {name for name, found in reach.items() if name in found}
