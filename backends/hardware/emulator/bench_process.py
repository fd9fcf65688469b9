"""What the process of an emulated bench runs: ``python -m rpudriver.backends.hardware.emulator.bench_process``.

Arguments are a Unix socket for looking into the chip and options as JSON. It says where its instruments are, and ends
with the process that started it.
"""

import json
import sys
from pathlib import Path

import torch

from rpudriver.backends.hardware.emulator.bench_server import BenchServer
from rpudriver.backends.hardware.emulator.child import outlive_nobody
from rpudriver.backends.hardware.emulator.probes import Probes
from rpudriver.backends.hardware.emulator.process import make_chip, warm_up
from rpudriver.backends.hardware.emulator.server import ChipServer
from rpudriver.backends.hardware.emulator.wiring import Wiring


def main() -> None:
    """Serve until standard input closes."""
    path, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    ports = options.pop("ports")
    chip = make_chip(**options)
    warm_up(chip)
    wiring = Wiring(Probes(chip))
    server, bench = ChipServer(chip, path, wiring.lock), BenchServer(wiring, ports=ports)
    print("ready", json.dumps(bench.addresses), flush=True)
    outlive_nobody()
    server.serve()


if __name__ == "__main__":
    main()
