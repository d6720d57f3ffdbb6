"""A picture of amounts a day as stacked bars: SVG without a style of its own, whose colours the style sheet has."""

import math
from collections.abc import Sequence
from datetime import date

from markupsafe import Markup

from sluicegate.serving.http.console.amounts import amount_of

__all__ = ["stacked_bars"]

_WIDTH, _HEIGHT = 880, 260
_LEFT, _TOP, _BOTTOM = 64, 12, 34
_LABELS = 8
"""Days that are named, at most."""


def stacked_bars(
    days: Sequence[date], series: Sequence[tuple[str, Sequence[float]]], *, unit: str, title: str
) -> Markup:
    """`series` are names with an amount for each day, the first at the bottom; `unit` is ``usd`` or ``tokens``."""
    tops = [sum(amounts[at] for _, amounts in series) for at in range(len(days))]
    step = _step(max(tops, default=0.0))
    most = step * max(1, math.ceil(max(tops, default=0.0) / step - 1e-9))
    high, slot = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / max(1, len(days))

    def y(amount: float) -> float:
        return _TOP + high * (1 - amount / most)

    parts = list[Markup]()
    for number in range(round(most / step) + 1):
        at = y(number * step)
        parts.append(
            Markup('<path class="grid" d="M{:.1f} {:.1f}H{}"/><text class="end" x="{}" y="{:.1f}">{}</text>').format(
                _LEFT, at, _WIDTH, _LEFT - 8, at + 4, amount_of(number * step, unit)
            )
        )
    every = math.ceil(len(days) / _LABELS)
    for at, day in enumerate(days):
        x = _LEFT + at * slot
        if (len(days) - 1 - at) % every == 0:
            parts.append(
                Markup('<text class="middle" x="{:.1f}" y="{}">{}</text>').format(
                    x + slot / 2, _HEIGHT - 12, f"{day:%b} {day.day}"
                )
            )
        below = 0.0
        for index, (name, amounts) in enumerate(series):
            if amounts[at] <= 0:
                continue
            bottom, top = y(below), y(below + amounts[at])
            parts.append(
                Markup(
                    '<rect class="series-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}: {}, {}</title></rect>"
                ).format(
                    *(index, x + slot * 0.1, top, slot * 0.8, max(1.0, bottom - top)),
                    *(day, name, amount_of(amounts[at], unit)),
                )
            )
            below += amounts[at]
    return Markup(
        '<svg class="bars" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, _WIDTH, _HEIGHT, f"{title}; the table below has the numbers", Markup("").join(parts))


def _step(most: float) -> float:
    """Between two lines: 1, 2 or 5 times a power of ten, so that there are at most five."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / 5))
    return next(power * each for each in (1, 2, 5, 10) if power * each * 5 >= most)
