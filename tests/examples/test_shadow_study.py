import subprocess
import sys
from pathlib import Path

import matplotlib.image

from tests.examples.loading import ROOT


def test_the_study_of_shadows_runs(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples/shadow_study.py", "--quick"]
    shown = subprocess.run(
        [*command, "--picture", tmp_path / "s.png"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(shown) == 2 + 3 * 6
    assert " | transposed | " in shown[2]
    assert "| 0 % / 0 % / 0 % |" in shown[2]  # no shadow, no cost
    assert matplotlib.image.imread(tmp_path / "s.png").shape[0] > 300
