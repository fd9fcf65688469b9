"""Zero-shift an array: open a chip, make every symmetry point read as zero, verify, draw."""

from pathlib import Path

from rpudriver.backends.registry import make
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.plots.zero_shift import plot_zero_shift
from rpudriver.types import Cell

PRECISION = 0.02  # wanted standard error of a point, in the range of a weight; alternating pulses: AlternatingZeroShift
ROWS, COLUMNS = 32, 32  # of the array
OUT = Path("zero-shift.png")


def main() -> None:
    """Run it on a simulated chip; put your own backend's name and options here."""
    device = {"up_down_d2d": 0.3}  # symmetry points spread by 30 % of the bound
    with make("simulated", preset="asymmetric-100", seed=1, device=device) as chip:
        chip.arm()
        array = chip.allocate("A", ROWS, COLUMNS, Cell.REFERENCE)
        done = ResponseZeroShift(precision=PRECISION).fit(chip, array)
    for finding in done.findings_:
        print(f"finding: {finding}")
    before, residual = float(done.points_[done.live_].std()), done.summary()["residual"]
    print(f"{float(done.pulses_.double().mean()):.0f} pulses per device")
    print(f"symmetry points: {before:.3f} from zero before, {residual['rms']:.3f} +- {residual['rms_error']:.3f} after")
    plot_zero_shift(done, "Zero shift", OUT)


if __name__ == "__main__":
    main()
