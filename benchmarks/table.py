"""The printed table."""

from collections.abc import Iterable, Mapping
from typing import Any

HEADER = ("row", "threads", "density", "ours", "aihwkit", "ratio", "ratio of minima", "like for like", "torch")


def lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the table in Markdown; times are medians a call, ratios say how many times faster ours is."""
    text = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    return text + [line(row) for row in rows]


def line(row: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    cells = (
        row["name"],
        str(row["threads"]),
        "" if row["density"] is None else f"{row['density']:.2g}",
        row.get("unavailable") or _time(row["ours_s"]),
        _time(row["peer_s"]),
        _ratio(row["ratio"]),
        _ratio(row["ratio_min"]),
        _ratio(row["ratio_like"]),
        _time(row["torch_s"]),
    )
    return "| " + " | ".join(cells) + " |"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x" if value < 10 else f"{value:.0f}x"
