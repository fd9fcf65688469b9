"""Running the checks, one after the other, each on a freshly opened chip."""

import time
from collections.abc import Callable, Collection

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.checker import (
    allocation,
    coincidences,
    device,
    order,
    pulsing,
    read_noise,
    reading,
    replay,
    safety,
    snapshots,
)
from rpudriver.backends.checker.bench import Bench, Check, CheckFailedError, CheckSkippedError
from rpudriver.backends.checker.report import CheckReport, CheckResult, Outcome
from rpudriver.config.model import did_you_mean
from rpudriver.errors import ConfigError

THEMES = (allocation, safety, reading, read_noise, pulsing, coincidences, order, device, snapshots, replay)
CHECKS: tuple[Check, ...] = tuple(check for theme in THEMES for check in theme.CHECKS)


def check_names() -> list[str]:
    """Return the names of all checks, in the order in which they run."""
    return [check.name for check in CHECKS]


def check_backend(
    open_backend: Callable[[], CrossbarBackend],
    *,
    only: Collection[str] | None = None,
    progress: Callable[[CheckResult], None] | None = None,
) -> CheckReport:
    """Check that a backend keeps the contract, through its public methods alone.

    Every check opens its own chip, moves the devices to where it needs them and measures them by reads. Tolerances
    follow from the declared capabilities (step, bounds, noise, converters) and the number of reads; where those would
    be too many, the check is skipped and says how many it would need.

    Parameters
    ----------
    open_backend
        Opens the chip, not armed, the same chip with the same seed every time. The last one is closed before.
    only
        Names of the checks to run; all of them by default.
    progress
        Called with each result as it comes.

    Returns
    -------
    CheckReport

    Raises
    ------
    ConfigError
        If `only` names an unknown check. Whatever `open_backend` raises at its first call is passed on.

    Notes
    -----
    Pulses go to every device of small arrays (up to 32 x 32, and one that is wide enough to saturate the output
    converter), about three times the full range in each check. A chip that can take a snapshot knows its whole
    state, so it is a simulation and must give the same reads for the same seed; on other chips that is skipped.
    """
    for name in only or ():
        if name not in check_names():
            raise ConfigError(f"no check {name!r}" + did_you_mean(name, check_names()))
    open_backend().close()  # options that it refuses are one error, not one for each check
    results = []
    for check in CHECKS:
        if only is None or check.name in only:
            results.append(_run(check, open_backend))
            if progress is not None:
                progress(results[-1])
    return CheckReport(tuple(results))


def _run(check: Check, open_backend: Callable[[], CrossbarBackend]) -> CheckResult:
    start = time.perf_counter()
    outcome: Outcome = "passed"
    detail = ""
    try:
        with Bench(open_backend) as bench:
            check.function(bench)
    except CheckSkippedError as reason:
        outcome, detail = "skipped", str(reason)
    except CheckFailedError as found:
        outcome, detail = "failed", str(found)
    except Exception as error:  # whatever somebody else's backend raises is a finding, not the end of the suite
        outcome, detail = "failed", f"raised {type(error).__name__}: {error}"
    mistake = check.likely_mistake if outcome == "failed" else ""
    return CheckResult(check.name, check.statement, outcome, detail, mistake, time.perf_counter() - start)
