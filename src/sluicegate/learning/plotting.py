"""Plots as SVG text: self-contained, without script or style sheet, in the page's text colour and three others.

The three are told apart without colour vision, and on light and on dark ground.
"""

from collections.abc import Sequence
from html import escape

__all__ = ["COLOURS", "drawing", "line", "polyline", "text"]

COLOURS = ("#0072b2", "#d55e00", "#009e73")


def drawing(width: int, height: int, marks: Sequence[str], title: str) -> str:
    """A picture with a title, for those who do not see it too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor"><title>{escape(title)}</title>'
        + "".join(marks)
        + "</svg>"
    )


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    colour: str = "currentColor",
    faint: bool = False,
    dashed: bool = False,
) -> str:
    style = f'stroke="{colour}" stroke-width="{1 if faint else 2}"'
    style += ' opacity="0.4"' if faint else ""
    style += ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def polyline(points: Sequence[tuple[float, float]], colour: str) -> str:
    along = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="2"/>'


def text(x: float, y: float, said: str, anchor: str) -> str:
    """`anchor`: ``start``, ``middle`` or ``end``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
