"""One look for all pictures, drawn without a display and without matplotlib's global state."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rpudriver.errors import OutputError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito: safe for colour-blind eyes
GREY = "#8A8A8A"
DPI = 150


def canvas(rows: int = 1, columns: int = 1, width: float = 4.6, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of axes, row after row; `width` and `height` are of one of them, in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, 1 + number) for number in range(rows * columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def require_picture(path: Path) -> None:
    """Raise `OutputError` where a file's ending is of no kind of picture, before long work rather than after it."""
    kinds = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise OutputError(f"{path} does not end like a picture; use one of .{', .'.join(kinds)}")


def save(figure: Figure, path: Path) -> None:
    """Write a picture; its kind follows from the file's ending.

    Raises
    ------
    OutputError
        If the file cannot be written or its kind is unknown.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the picture {path}: {error}") from error
