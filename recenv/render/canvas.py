"""Pillow's drawing in pixels of the picture: everything at twice its size and halved, which smooths the edges."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK: Final = "#1b2530"
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_SCALE: Final = 2


class Canvas:
    """A picture that is drawn on, in its own pixels.

    Args:
        width: W.
        height: H.
        color: of the background.
    """

    def __init__(self, width: int, height: int, color: str) -> None:
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), color)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> np.ndarray:
        """Return the picture, [H, W, 3] uint8."""
        return np.array(self._image.reduce(_SCALE))

    def rectangle(self, box: Box, fill: str | None, *, outline: str | None = None, radius: int = 0, width: float = 1):
        """Draw a filled box with round corners; one without an extent is left out."""
        left, top, right, bottom = (round(x * _SCALE) for x in box)
        # Pillow's right and bottom are the last pixels inside.
        if right > left and bottom > top:
            corners = (left, top, right - 1, bottom - 1)
            self._draw.rounded_rectangle(corners, radius * _SCALE, fill, outline, round(width * _SCALE))

    def line(self, points: list[tuple[float, float]], color: str, width: float = 1) -> None:
        """Draw straight lines from point to point."""
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, color, round(width * _SCALE), joint="curve")

    def dot(self, x: float, y: float, radius: float, color: str) -> None:
        """Draw a filled circle."""
        self._draw.circle((x * _SCALE, y * _SCALE), radius * _SCALE, color)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int,
        color: str = INK,
        *,
        align: str = "l",
        bold: bool = False,
        room: float = float("inf"),
    ) -> None:
        """Write one line, cut to `room` pixels; y is its middle, x its left end, middle ("m") or right end ("r")."""
        cut = words
        while len(cut) > 1 and text_width(cut, size) > room:
            cut = cut.removesuffix("…")[:-1] + "…"
        left, top, mask = _written(cut, size * _SCALE, f"{align}m", 0.016 * size * _SCALE if bold else 0.0)
        self._draw.bitmap((round(x * _SCALE) + left, round(y * _SCALE) + top), mask, color)


# Most words of a picture stand in the one before it too; what a frame writes anew is drawn in a third of the time.
@lru_cache(maxsize=4096)
def _written(words: str, size: int, anchor: str, stroke: float) -> tuple[int, int, Image.Image]:
    """Return where a text's upper left corner lies from its anchor, and its mask."""
    left, top, right, bottom = _font(size).getbbox(words, anchor=anchor, stroke_width=stroke)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(1, math.ceil(right) - left), max(1, math.ceil(bottom) - top)))
    ImageDraw.Draw(mask).text((-left, -top), words, 255, _font(size), anchor, stroke_width=stroke)
    return left, top, mask


@lru_cache(maxsize=4096)
def text_width(words: str, size: int) -> float:
    """Return how wide a line is."""
    return _font(size * _SCALE).getlength(words) / _SCALE


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
