"""How well `Characterise` recovers the parameters of simulated devices, whether its intervals hold, and what it costs.

    python examples/characterise_recovery.py --json recovery.json --table recovery.md

The true parameters are those that the simulator drew (`backends/oracle.py`); the measurement does not see them.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.characterise import Characterise
from rpudriver.types import Array, Port

PRESETS = ("reram-array", "asymmetric-100", "ecram", "rpu-asymmetric")
SIDE = 48  # 2304 devices: coverage of 95 % is known to 0.45 %
NAMES = ("dw_min", "dw_up", "dw_down", "symmetry_point", "w_max", "w_min", "n_states", "c2c", "write_noise")


def main() -> None:
    """Measure every preset and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of chips and measurements (default: 0)")
    parser.add_argument("--quick", action="store_true", help="one coarse preset, 64 devices")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--table", type=Path, help="write a Markdown table there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    presets, side = (("asymmetric-100",), 8) if args.quick else (PRESETS, SIDE)
    results = {preset: recover(preset, side, args.seed) for preset in presets}
    text = "\n\n".join(table(preset, result) for preset, result in results.items())
    print(text)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.table:
        args.table.write_text(text + "\n")


def recover(preset: str, side: int, seed: int) -> dict[str, Any]:
    """Characterise the devices of a preset and compare them with what they are."""
    chip = make("simulated", preset=preset, seed=seed)
    chip.arm()
    array = chip.allocate("devices", side, side)
    start = time.perf_counter()
    measured = Characterise(seed=seed).fit(chip, array)
    wall = time.perf_counter() - start
    summary = measured.summary()
    compared = {}
    for name, true in true_values(chip, array).items():
        each = measured.evaluation_.estimates[name]
        known = np.isfinite(each.value)
        off = (each.value - true)[known]
        compared[name] = {
            "devices": int(known.sum()),
            "true_median": float(np.median(true[known])),
            "median_error": float(np.median(each.error[known])),
            "rms_off": float(np.sqrt(np.mean(np.square(off)))),
            "median_off": float(np.median(off)),
            "median_off_in_errors": float(np.median(off / each.error[known])),
            "coverage": float(((each.low <= true) & (true <= each.high))[known].mean()),
        }
    return {
        "devices": side * side,
        "evaluated": summary["evaluated"],
        "form": summary["form"],
        "common_c2c": summary["common_c2c"],
        "pulses_per_device": summary["pulses_per_device"],
        "reads": summary["reads"],
        "chip_time_s": measured.record_.cost["chip_time_s"],
        "weight_error": summary["weight_error"],
        "wall_s": wall,
        "quantities": compared,
    }


def true_values(chip: CrossbarBackend, array: Array) -> dict[str, np.ndarray]:
    """Return the true parameters ``[n_out * n_in]`` of devices with soft bounds."""
    drawn = oracle(chip).device_parameters(array, Port.DEVICE)
    p = {key: value.double().numpy().ravel() for key, value in drawn.items()}
    options = chip.capabilities.device
    point = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
    step = p["dw_up"] * (1 - point / p["w_max"])
    written = 1.41 * options.dw_min if chip.fingerprint.startswith("simulated reram-array") else 0.0
    values = {
        "dw_min": step, "dw_up": p["dw_up"], "dw_down": p["dw_down"], "symmetry_point": point, "w_max": p["w_max"],
        "w_min": p["w_min"], "n_states": (p["w_max"] - p["w_min"]) / step, "c2c": np.full(len(step), options.c2c),
        "write_noise": np.full(len(step), written),
    }  # fmt: skip
    return {name: values[name] for name in NAMES}


def table(preset: str, result: dict[str, Any]) -> str:
    """Return a Markdown section about a preset."""
    lines = [
        f"### {preset}",
        "",
        f"{result['evaluated']} of {result['devices']} devices evaluated; {result['pulses_per_device']:,} pulses a "
        f"device, {result['reads']:,} reads, {result['chip_time_s']:.2f} s of chip time (waiting included), "
        f"{result['wall_s']:.1f} s of wall time. A weight is read to {_digits(result['weight_error'])}; "
        f"common c2c noise {result['common_c2c']:.3f}.",
        "",
        "| | devices | true median | error of one device | off from truth, median | in errors | intervals that hold |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["quantities"].items():
        lines.append(
            f"| {name} | {found['devices']} | {_digits(found['true_median'])} | {_digits(found['median_error'])} | "
            f"{_digits(found['median_off'])} | {found['median_off_in_errors']:+.2f} | {100 * found['coverage']:.1f} % |"
        )
    return "\n".join(lines)


def _digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 7)}f}"


if __name__ == "__main__":
    main()
