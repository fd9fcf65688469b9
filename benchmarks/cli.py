"""The command line: which rows, how often, on how many threads; prints the table and writes the rows."""

import argparse
import json
import os
from pathlib import Path

from benchmarks import peer, table
from benchmarks.catalogue import all_cases
from benchmarks.machine import cores, describe
from benchmarks.rows import Options, measure, select

FEWEST_RUNS = 7  # below it a median says little; fewer are for trying things out


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen rows; return the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    cases = list(all_cases())
    if asked.list:
        print("\n".join(case.name for case in cases))
        return 0
    try:
        chosen = select(cases, asked.only)
    except ValueError as error:
        parser.error(str(error))
    options = Options(asked.data, asked.cache, asked.runs, asked.full)
    rows = []
    print(_opening(options), *table.lines([]), sep="\n", flush=True)
    for case in chosen:
        for threads in asked.threads:
            row = measure(case, threads, options)
            rows.append(row)
            print(table.line(row), flush=True)
            if asked.json:  # row by row: an interrupted run keeps what it has
                asked.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")
    return 0


def _opening(options: Options) -> str:
    machine = describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    text = f"{machine['cpu']}, {machine['cores']} cores; {versions}; {machine['date']}\n"
    if not peer.available():
        text += "aihwkit is not installed here: no peer to compare with (docs/benchmarks.md)\n"
    if options.runs < FEWEST_RUNS:
        text += f"{options.runs} runs: figures to publish need at least {FEWEST_RUNS}\n"
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the rows there")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="rows by shell pattern; again and again"
    )
    parser.add_argument(
        "--runs", type=_count, default=FEWEST_RUNS, help="runs of each contestant (default: %(default)s)"
    )
    parser.add_argument("--threads", type=_threads, default=_threads("1,all"), help="numbers, or all (default: 1,all)")
    parser.add_argument(
        "--data", type=Path, default=_environment("RPUDRIVER_DATA"), metavar="DIR", help="files of MNIST"
    )
    parser.add_argument("--cache", type=Path, default=_cache(), metavar="DIR", help="recordings (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="whole epochs; takes an hour")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    return parser


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: the folder must exist and the name be that of a file")
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of at least 1 is needed")
    return int(text)


def _threads(text: str) -> list[int]:
    """Return numbers of threads, each once, in the order given; at most as many as there are cores."""
    counts = []
    for part in text.split(","):
        count = cores() if part == "all" else _count(part)
        if count > cores():
            raise argparse.ArgumentTypeError(f"{part} threads on {cores()} cores would measure waiting; ask for fewer")
        counts.append(count)
    return list(dict.fromkeys(counts))


def _environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _cache() -> Path:
    return (_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "rpudriver-benchmarks"
