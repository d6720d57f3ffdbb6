"""A picture in pixels, for what takes no SVG: slides, chats, some wikis."""

import re
from functools import partial

from sluicegate.errors import RunError
from sluicegate.extras import extra

__all__ = ["png"]

_MOST_PIXELS = 40_000_000
"""Of a picture at twice its size; a larger one is drawn at its own size."""


def png(svg: str) -> bytes:
    """An SVG of ours as PNG, on its light ground, with fonts of this machine; at twice its size where it is not huge.

    Raises `RunError` SG633 where the extra `png` is not installed.
    """
    with extra("png", "a picture as PNG", partial(RunError, "SG633")):
        from resvg_py import svg_to_bytes

    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert size, "an SVG of ours says its size"
    twice = 4 * float(size[1]) * float(size[2]) <= _MOST_PIXELS
    # the generic names of the style sheet are for browsers
    return bytes(
        svg_to_bytes(
            svg_string=svg,
            zoom=2.0 if twice else 1.0,
            sans_serif_family="DejaVu Sans",
            monospace_family="DejaVu Sans Mono",
        )
    )
