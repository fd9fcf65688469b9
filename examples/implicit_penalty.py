"""Where analog SGD comes to rest: the implicit penalty of asymmetric devices, measured against its closed form.

Each of 400 devices with linear soft bounds of +-tau minimises ``a/2 (w - w0)^2`` from gradients with Gaussian noise of
size sigma. One pulse moves a device by ``lr g`` times ``1 -+ w / tau``, so on average the devices rest where

    a (w0 - w) = E|g| w / tau,        E|g| = mean of the folded normal law at a (w - w0), sigma

and not at w0: the minimum of ``f + E|g| / (2 tau) w^2`` (Wu et al. 2025, theorem 1).
"""

import argparse
import json
import math
from pathlib import Path

import torch

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.backends.registry import make

A, SIGMA, TAU, LR, DW_MIN, ROWS = 1.0, 1.0, 0.6, 0.002, 0.0005, 400
RESPONSE = {"family": "power", "tau": TAU, "gamma": 1.0}
DEVICE = {"response": RESPONSE, "dw_min": DW_MIN, "w_max": TAU, "w_min": -TAU, "c2c": 0.3}


def closed_form(w0: torch.Tensor) -> torch.Tensor:
    """Return the resting points of minima `w0`, by bisection on the balance of forces."""
    low, high = torch.full_like(w0, -TAU), torch.full_like(w0, TAU)
    for _ in range(60):
        w = (low + high) / 2
        g = A * (w - w0)
        folded = SIGMA * math.sqrt(2 / math.pi) * torch.exp(-(g**2) / (2 * SIGMA**2))
        folded += g * torch.erf(g / (SIGMA * math.sqrt(2)))
        rising = -g > folded * w / TAU
        low, high = torch.where(rising, w, low), torch.where(rising, high, w)
    return (low + high) / 2


def measure(steps: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return minima, closed form, the mean weight of the second half of `steps` updates and its standard error."""
    noise = torch.Generator().manual_seed(seed)
    w0 = torch.linspace(-0.5, 0.5, ROWS)
    chip = make("simulated", preset="idealised", seed=seed, device=DEVICE, chip={"output_bits": 0, "input_bits": 0})
    chip.arm()
    sgd = AnalogSGD()
    state = sgd.init(chip, "quadratic", ROWS, 1, seed)
    x, blocks = torch.ones(1, 1), []
    for step in range(steps):
        w = chip.read_matvec(state.arrays["C"], x).values
        state = sgd.step(chip, state, x, -A * (w - w0) - SIGMA * torch.randn(1, ROWS, generator=noise), LR)
        if step >= steps // 2:
            blocks.append(w[0])
    # 200 steps or so of relaxation: the means of blocks far longer than that are independent
    means = torch.stack([block.mean(0) for block in torch.stack(blocks).chunk(10)])
    return {"w0": w0, "closed_form": closed_form(w0), "measured": means.mean(0), "error": means.std(0) / math.sqrt(10)}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="all points; mean_z, rms_z: deviation in standard errors")
    options = parser.parse_args()
    found = measure(options.steps, options.seed)
    z = (found["measured"] - found["closed_form"]) / found["error"]
    summary = {"steps": options.steps, "mean_z": float(z.mean()), "rms_z": float((z**2).mean().sqrt())}
    summary["largest_deviation"] = float((found["measured"] - found["closed_form"]).abs().max())
    print("    w0   closed form   measured +- error")
    for i in range(0, ROWS, 50):
        print("{:6.3f}   {:11.4f}   {:8.4f} +- {:.4f}".format(*(float(found[k][i]) for k in found)))
    print(summary)
    if options.json:
        options.json.write_text(json.dumps(summary | {name: value.tolist() for name, value in found.items()}))


if __name__ == "__main__":
    main()
