"""``rpudriver demo``: algorithms side by side on one device, trained in worker processes."""

import argparse
import multiprocessing
import os
import queue
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch

from rpudriver.cli.running import describe, progress_bar, train_and_draw
from rpudriver.errors import ConfigError, OutputError
from rpudriver.experiment.demo import Job, best_of_each, plan_demo
from rpudriver.experiment.folder import RunFolder, require_writable, write_json
from rpudriver.experiment.interruption import SIGNALS, Interrupted, SignalWatch
from rpudriver.experiment.training import Progress
from rpudriver.plots.curves import plot_comparison

DESCRIPTION = (
    "Train digital SGD, analog SGD (best of five rates), Tiki-Taka and TTv2 on handwritten digits, all "
    "analog ones on the same noisy, asymmetric simulated devices of about 100 states, and compare."
)
EPILOG = """\
examples:
  rpudriver demo                       under two minutes on two cores
  rpudriver demo --quick --out runs/demo
  rpudriver demo --out runs/demo --resume      after Ctrl-C

Every run has a folder of its own in DIR, as `rpudriver train` writes it; result.json and comparison.png compare them.
"""
REPORT_EVERY_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver demo`` takes."""
    parser.add_argument("--out", metavar="DIR", type=Path, help="output folder (default: runs/demo-DATE-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the demo in DIR")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result there as well")
    parser.add_argument("--jobs", metavar="N", type=int, default=0, help="worker processes (default: one a core)")
    parser.add_argument("--quick", action="store_true", help="two epochs each: shows that it works, proves nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(handler=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    """Run ``rpudriver demo`` and return the exit code."""
    if args.jobs < 0:
        raise ConfigError(f"--jobs {args.jobs}: give at least 1, or 0 for one a core")
    out = args.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    if out.exists() and not args.resume and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; go on with --resume or choose another one with --out")
    if args.json is not None:
        require_writable(args.json)
    started = time.perf_counter()
    jobs = plan_demo(args.quick)
    workers = min(args.jobs or cores(), len(jobs))
    try:
        results = _train_all(jobs, out, args, workers)
    except Interrupted as stopped:
        quick = " --quick" if args.quick else ""
        print(f"interrupted; go on with: rpudriver demo{quick} --out {out} --resume", file=sys.stderr)
        return stopped.exit_code
    best = best_of_each(jobs, results)
    result = {"wall_time_s": time.perf_counter() - started, "jobs": workers, "quick": args.quick, "best": best}
    result["runs"] = {job.folder: run for job, run in zip(jobs, results, strict=True)}
    write_json(out / "result.json", result)
    if args.json is not None:
        write_json(args.json, result)
    plot_comparison(best, out / "comparison.png", _title(best))
    print(table(best))
    print(f"\n{len(jobs)} runs in {result['wall_time_s']:.0f} s on {workers} processes; see {out / 'comparison.png'}")
    return 0


def cores() -> int:
    """Return the number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _title(best: dict[str, dict[str, Any]]) -> str:
    chips = {result["backend"]["preset"] for result in best.values() if result["backend"] is not None}
    return f"Handwritten digits, devices: {', '.join(sorted(chips))}"


# ---- processes ------------------------------------------------------------------------------------------------------


def _train_all(jobs: list[Job], out: Path, args: argparse.Namespace, workers: int) -> list[dict[str, Any]]:
    """Return the results of all jobs, in order.

    Raises
    ------
    Interrupted
        After Ctrl-C or SIGTERM, when every worker has saved its checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    reports, stop = context.Queue(), context.Event()
    with ProcessPoolExecutor(workers, context, _start_worker, (reports, stop)) as pool:
        # The last lines of the plan take longest: begun first, they do not hold up the end.
        order = reversed(range(len(jobs)))
        with _signals_ignored():  # the workers inherit it, so that Ctrl-C does not break their start either
            futures = {number: pool.submit(_work, jobs[number], out, args.resume) for number in order}
        with SignalWatch() as watch, progress_bar(args.quiet, total=1, desc="demo") as bar:
            try:
                _follow(list(futures.values()), jobs, reports, bar, watch)
            finally:
                stop.set()  # a worker that still trains saves its checkpoint and ends
                pool.shutdown(cancel_futures=True)
    if watch.number is not None:
        raise Interrupted(watch.number, str(out))
    return [futures[number].result() for number in range(len(jobs))]


@contextmanager
def _signals_ignored() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(futures: list["Future[Any]"], jobs: list[Job], reports: Any, bar: Any, watch: SignalWatch) -> None:
    """Show progress until all futures are done, one has failed, or a signal came."""
    latest: dict[str, Progress] = {}
    while watch.number is None:
        done, waiting = wait(futures, timeout=REPORT_EVERY_S, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises what a worker raised
        _show(latest, jobs, reports, bar)
        if not waiting:
            return


def _show(latest: dict[str, Progress], jobs: list[Job], reports: Any, bar: Any) -> None:
    while True:
        try:
            folder, progress = reports.get_nowait()
        except queue.Empty:
            break
        latest[folder] = progress
        bar.set_postfix_str(f"{folder}: {', '.join(f'{k} {v}' for k, v in describe(progress).items())}", refresh=False)
    if latest:
        mean = sum(progress.total for progress in latest.values()) / len(latest)
        bar.total = round(mean * len(jobs))
        bar.update(sum(progress.done for progress in latest.values()) - bar.n)


class _Worker:
    """What a worker process was started with."""

    reports: Any
    stop: Event


def _start_worker(reports: Any, stop: Event) -> None:
    for number in SIGNALS:  # Ctrl-C reaches the whole process group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    reports.cancel_join_thread()  # at the end nobody empties the queue any more
    _Worker.reports, _Worker.stop = reports, stop


def _work(job: Job, out: Path, resume: bool) -> dict[str, Any]:
    last = 0.0
    if _Worker.stop.is_set():  # begun after Ctrl-C: the pool hands out one job ahead of time
        raise Interrupted(signal.SIGTERM, "nothing")

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > REPORT_EVERY_S or progress.done == progress.total:
            last = now
            _Worker.reports.put((job.folder, progress))

    return train_and_draw(
        job.config,
        out / job.folder,
        resume=resume and RunFolder(out / job.folder).config.is_file(),
        data_folder=None,
        report=report,
        stop=lambda: signal.SIGTERM.value if _Worker.stop.is_set() else None,
    )


# ---- table ----------------------------------------------------------------------------------------------------------


def table(best: dict[str, dict[str, Any]]) -> str:
    """Return the comparison as text, a line for each label."""
    head = ("algorithm", "lr", "test accuracy", "wall time", "device pulses", "chip time", "energy")
    rows = [head, *(_row(label, result) for label, result in best.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    align = ["<", *[">"] * (len(head) - 1)]
    lines = ["   ".join(f"{c:{a}{w}}" for c, a, w in zip(row, align, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(label: str, result: dict[str, Any]) -> tuple[str, ...]:
    cost = result["cost"]
    chip = ("-", "-", "-")
    if cost is not None:
        chip = (_si(cost["coincidences"], ""), _si(cost["chip_time_s"], "s"), _si(cost["energy_j"], "J"))
    accuracy, rate = f"{100 * result['test_accuracy']:.1f} %", f"{result['lr']:g}"
    return (label, rate + f" (best of {len(result['tried_lr'])})" * (len(result["tried_lr"]) > 1), accuracy,
            f"{result['wall_time_s']:.1f} s", *chip)  # fmt: skip


def _si(value: float, unit: str) -> str:
    """Return a value with three digits and an SI prefix."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()
