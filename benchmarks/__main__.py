"""``python -m benchmarks``."""

import os
import sys

from benchmarks.machine import openblas_core

core = openblas_core()
if core is not None:
    os.environ.setdefault("OPENBLAS_CORETYPE", core)  # before any library is loaded

from benchmarks.cli import main  # noqa: E402

sys.exit(main())
