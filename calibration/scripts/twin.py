"""A twin of a chip: characterise it, fit the simulator's device model, write the preset, judge it. Copy and change."""

from pathlib import Path

from rpudriver.backends.registry import make
from rpudriver.calibration.characterise import Characterise
from rpudriver.calibration.probe import Probe
from rpudriver.calibration.twin_data import twin_data
from rpudriver.calibration.twin_fit import fit_twin
from rpudriver.calibration.twin_judge import judge
from rpudriver.config.toml import dump_toml

BACKEND, OPTIONS = "simulated", {"preset": "asymmetric-100", "seed": 3}  # your chip's name and options
ROWS = COLUMNS = 16  # 256 devices: means to 2 % at 30 % spread; the judge likes 1000
CYCLES, POINTS = 2, 20  # a sweep to fit and one to predict, each leg in 20 groups of pulses
FAMILY = "soft-bounds"  # None: the one that predicts best, which takes a minute
OUT = Path("twin.toml")


def main() -> None:
    """Characterise, fit, judge."""
    with make(BACKEND, **OPTIONS) as chip:
        chip.arm()
        array = chip.allocate("devices", ROWS, COLUMNS)
        data = Characterise(cycles=CYCLES, points=POINTS).fit(chip, array).data_
        twin = fit_twin(twin_data(data, complete=True, devices=ROWS * COLUMNS, seed=0), FAMILY)
        probe = Probe(seed=1).fit(chip, array)
    OUT.write_text(dump_toml({"source": f"Twin of {probe.record_.chip}", **twin.preset}))
    with make("simulated", preset=str(OUT), seed=1) as simulated:
        simulated.arm()
        found = judge(probe, probe.for_another().fit(simulated, simulated.allocate("twin", ROWS, COLUMNS)))
    for name, value in twin.parameters.items():
        print(f"{name:15} {value.value:9.4g}   95 % in {value.low:9.4g} .. {value.high:9.4g}")
    for finding in (*twin.findings, *found.findings):
        print(f"finding: {finding}")
    print(f"p = {found.test.p:.3f} (below 0.05: not this chip's twin); preset in {OUT}")


if __name__ == "__main__":
    main()
