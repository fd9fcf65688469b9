"""The network after training: on its analog hardware, extracted onto digital hardware, and averaged while it trained.

Every run is a recipe of the package or a config file, with the model average over the second half of its epochs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rpudriver.experiment.config import load_config
from rpudriver.experiment.extracting import extract_run, open_run
from rpudriver.experiment.measurement import Report
from rpudriver.experiment.training import train

SETTINGS = {"seed": 0, "target": 0.002}


def silent(name: str) -> Report:
    """Report nothing."""
    return lambda progress: None


def row(name: str, overrides: list[str], reads: float, folder: Path, data: Path | None) -> dict[str, Any]:
    """Train, extract, and return accuracies and what the reads cost."""
    epochs = load_config(name, overrides).training.epochs
    average = [f"average.start_epoch={epochs // 2}", f"average.reads={reads}"]
    config = load_config(name, [*overrides, *average])
    result = train(config, folder / "run", data_folder=data).result
    trained = open_run(folder / "run", folder / "net/chip.journal")
    with trained.chip:
        found = extract_run(
            trained, SETTINGS, folder / "net", resume=False, data_folder=data, report=silent, stop=lambda: None
        )
    test, averaged = found["test"], result["average"]
    return {
        "run": name,
        "seed": config.seed,
        "on_its_chip": result["test_accuracy"],  # after the last epoch
        "on_its_chip_again": test["analog"]["test_accuracy"],
        "extracted": test["extracted"]["test_accuracy"],
        "averaged": averaged["test_accuracy"],
        "losses": [test["analog"]["test_loss"], test["extracted"]["test_loss"], averaged["test_loss"]],
        "extraction_reads": found["reads"],
        "average_reads": averaged["reads"],
        "all_reads": result["cost"]["reads"],
        "windows": min(averaged["windows"].values()),
        "sd": averaged["sd"],
        "standard_error": averaged["standard_error"],
    }


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=["digits-ttv2", "digits-tiki-taka", "digits-sgd"])
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of run and chip")
    parser.add_argument("--reads", type=float, default=1.0, help="of every tile after each update")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for name in options.runs:
        for seed in options.seeds:
            seeds = [f"seed={seed}", f"backend.seed={seed}"]
            folder = options.out / f"{Path(name).stem}-{seed}"
            rows.append(row(name, options.overrides + seeds, options.reads, folder, options.data))
            print(json.dumps(rows[-1]), flush=True)
    (options.out / "rows.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
