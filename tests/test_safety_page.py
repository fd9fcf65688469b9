"""docs/safety.md names files and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/safety.md").read_text()
CODE = re.compile(r"`([\w/]+\.(?:py|c))(?:::(\w+))?`")


def test_files_and_tests_that_it_names_exist() -> None:
    found = CODE.findall(PAGE)
    assert len(found) > 150
    for path, test in found:
        folder = ROOT / ("tests/backends/hardware" if test else "backends/hardware")
        file = next((place for place in (folder / path, ROOT / path) if place.is_file()), None)
        assert file is not None, path
        assert not test or f"def {test}(" in file.read_text(), f"{path}::{test}"


def test_every_promise_has_tests() -> None:
    promises = re.findall(r"^## (\d+)\..*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert promises == [str(number) for number in range(1, 12)]
    for section in re.findall(r"^## \d+\..*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL):
        rows = [line for line in section.splitlines() if line.startswith("|")][2:]
        assert len(rows) >= 4
        assert all(row.count("`") >= 4 and "::test_" in row for row in rows), section
