"""The README keeps its promises: a snippet of at most 12 lines that runs, and links that lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_snippet_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippet.splitlines()) <= 12
    names: dict[str, object] = {}
    exec(snippet, names)
    cost = names["chip"].status().cost  # type: ignore[attr-defined]
    assert cost["samples"] >= 16  # eight samples on A of either layer
    assert cost["reads"] > 0


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_first_screen_is_short() -> None:
    lines = README.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("    scripts/")] == ["scripts/demo", "scripts/test"]
    assert lines.index("```python") < 12
