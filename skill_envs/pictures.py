"""Pictures for films: words on them, and pictures of any size brought to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Picture = NDArray[np.uint8]  # (height, width, 3)

_FONT_SIZES = (8, 40)  # [pixel]
_LINES = 22  # of text, that a picture is high


def captioned(picture: Picture, lines: Sequence[str]) -> Picture:
    """A copy of a picture with lines of text in its upper left corner, on a ground that makes them readable."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    font = _font(lines, width, height)
    draw, text = ImageDraw.Draw(image, "RGBA"), "\n".join(lines)
    margin = max(2, height // 64)
    left, top, right, bottom = draw.multiline_textbbox((margin, margin), text, font=font)
    draw.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=(255, 255, 255, 190))
    draw.multiline_text((margin, margin), text, font=font, fill=(20, 20, 20))
    return np.asarray(image)


def _font(lines: Sequence[str], width: int, height: int) -> ImageFont.FreeTypeFont:
    """The largest font that a picture has the place for; of text that is still too long, the end is cut."""
    smallest, largest = _FONT_SIZES
    size = min(largest, max(smallest, height // _LINES))
    while True:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        if size == smallest or max(font.getlength(line) for line in lines) < 0.95 * width:
            return font
        size -= 1


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """A picture brought to a size: scaled as a whole, with black bars where its sides are in another ratio."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(ImageOps.pad(Image.fromarray(picture), (width, height)))
