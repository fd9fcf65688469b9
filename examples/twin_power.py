"""Does the judge of a twin accept right twins and reject wrong ones? Repeats over chips, and over whole calibrations.

`known`: the twin is a second chip of the same preset, other devices; wrong ones have a dw_min 10 % off, or an up/down
imbalance 0.1 off. `fitted`: a chip is characterised, a twin is fitted to the data and judged against that chip; how
often the chip's parameters lie inside the stated intervals is counted besides.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.spec import load_preset
from rpudriver.calibration.characterise import Characterise
from rpudriver.calibration.probe import Probe
from rpudriver.calibration.twin_data import twin_data
from rpudriver.calibration.twin_fit import fit_twin
from rpudriver.calibration.twin_judge import judge

LEVEL = 0.05
CHIPS = ("rpu-asymmetric", "asymmetric-100", "extremely-noisy", "ecram", "reram-array", "reram-hfo2")
SIDE = 32  # lines of the array, all of whose devices are compared
FITTED = "asymmetric-100"


def chip(preset: str, seed: int, side: int, device: Mapping[str, Any], **options: Any) -> CrossbarBackend:
    """Return an armed chip of one array."""
    made = make("simulated", preset=preset, seed=seed, device=device, chip={"rows": side, "columns": side}, **options)
    made.arm()
    return made


def twins(preset: str) -> dict[str, dict[str, Any]]:
    """Return what is replaced in the preset of each twin."""
    device = load_preset(preset).device
    step = device.dw_min.model_dump()
    return {
        "right": {},
        "dw_min + 10 %": {"dw_min": step | {"mean": 1.1 * device.dw_min.mean}},
        "dw_min - 10 %": {"dw_min": step | {"mean": 0.9 * device.dw_min.mean}},
        "up_down + 0.1": {"up_down": device.up_down + 0.1},
        "up_down - 0.1": {"up_down": device.up_down - 0.1},
    }


def known(preset: str, side: int, repeats: int, permutations: int) -> dict[str, Any]:
    """Return how often each twin of a preset is accepted, and the budget."""
    accepted = dict.fromkeys(twins(preset), 0)
    for n in range(repeats):
        measured = Probe(seed=n).fit(chip(preset, 2 * n, side, {}))
        for name, device in twins(preset).items():
            other = measured.for_another().fit(chip(preset, 2 * n + 1, side, device))
            accepted[name] += int(judge(measured, other, side**2, permutations, n).test.p > LEVEL)
    budget = measured.summary() | {"reads": measured.record_.cost["reads"]}
    budget.pop("groups")
    return {"preset": preset, "devices": side**2, "repeats": repeats, "accepted": accepted, "budget": budget}


def truth(preset: str) -> dict[str, float]:
    """Return the parameters of a preset by the names that a fit gives them."""
    device = load_preset(preset).device
    found = {"up_down": device.up_down, "up_down_d2d": device.up_down_d2d, "c2c": device.c2c}
    found |= {"c2c_additive": device.c2c_additive, "write_noise": device.write_noise}
    for name in ("dw_min", "w_max", "w_min"):
        found |= {name: getattr(device, name).mean, f"{name}.d2d": getattr(device, name).d2d}
    return found | {"output_noise": load_preset(preset).read.output_noise}


def fitted(preset: str, side: int, repeats: int, permutations: int) -> dict[str, Any]:
    """Return how often a fitted twin is accepted by its chip, and how often intervals hold the truth."""
    accepted, covered = 0, dict.fromkeys(truth(preset), 0)
    for n in range(repeats):
        real = chip(preset, n, side, {})
        data = Characterise(seed=n).fit(real).data_
        twin = fit_twin(twin_data(data, True, side**2, n), load_preset(preset).device.response.family)
        for name, value in truth(preset).items():
            covered[name] += int(twin.parameters[name].low <= value <= twin.parameters[name].high)
        array = real.allocate("characterise", side, side)
        measured = Probe(seed=n).fit(real, array)
        simulated = chip(preset, n, side, twin.preset["device"], read=twin.preset["read"])  # another array's devices
        other = measured.for_another().fit(simulated)
        accepted += int(judge(measured, other, side**2, permutations, n).test.p > LEVEL)
    return {"preset": preset, "devices": side**2, "repeats": repeats, "accepted": accepted, "covered": covered}


def main() -> None:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="chips of each kind")
    parser.add_argument("--fits", type=int, default=40, help="whole calibrations")
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--quick", action="store_true", help="two chips of a kind, one calibration of 16 x 16 devices")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.fits = 2, 1
    torch.set_num_threads(1)
    results = []
    for preset in CHIPS[1:2] if options.quick else CHIPS:
        start = time.perf_counter()
        results.append(known(preset, SIDE, options.repeats, options.permutations))
        found = results[-1]
        print(
            f"{preset}: {found['devices']} devices, {found['budget']}, {time.perf_counter() - start:.0f} s", flush=True
        )
        for name, count in found["accepted"].items():
            print(f"  {name:14} accepted {count:3} of {found['repeats']}", flush=True)
    found = fitted(FITTED, 16 if options.quick else SIDE, options.fits, options.permutations)
    print(
        f"fitted twins of {FITTED}: accepted {found['accepted']} of {found['repeats']}; intervals that hold the truth:"
    )
    print("  " + ", ".join(f"{name} {count}" for name, count in found["covered"].items()))
    if options.json:
        options.json.write_text(json.dumps({"known": results, "fitted": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
