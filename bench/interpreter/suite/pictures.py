"""Pictures and charts: is it the picture that was asked for, do the bars and curves say what the data says?

A chart is read from its coloured pixels, so it may have any size, title, grid, colour and order. Each raises Wrong.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from suite.task import Wrong

COLOURED = 45  # how far apart the largest and smallest of red, green and blue are in what is no grey


def picture(path: Path, form: str = "") -> Image.Image:
    """The picture in a file, of the format that is asked for (PNG, JPEG …)."""
    if not path.is_file():
        raise Wrong(f"there is no {path.name}")
    try:
        image = Image.open(path)
        image.load()
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise Wrong(f"{path.name} does not open: {error}") from None
    if form and image.format != form:
        raise Wrong(f"{path.name} is {image.format}, not {form}")
    return image


def sized(image: Image.Image, width: float, height: float, slack: float = 1.01) -> None:
    """As wide and high as asked, but for rounding."""
    if abs(image.width - width) > slack or abs(image.height - height) > slack:
        raise Wrong(f"it is {image.width}x{image.height} pixels, not {width:.0f}x{height:.0f}")


def alike(image: Image.Image, wanted: Image.Image, limit: float = 14) -> None:
    """The same picture, as far as ways to scale and compress it differ."""
    one = np.asarray(image.convert("RGB"), dtype=float)
    other = np.asarray(wanted.convert("RGB").resize(image.size), dtype=float)
    if (off := float(np.abs(one - other).mean())) > limit:
        raise Wrong(f"it shows something else: {off:.0f} of 255 off on average")


def grey(image: Image.Image) -> None:
    """No colour left."""
    pixels = np.asarray(image.convert("RGB"), dtype=int)
    if int((pixels.max(axis=2) - pixels.min(axis=2)).max()) > 12:
        raise Wrong("there is still colour in it")


def bars(path: Path, values: Sequence[float]) -> None:
    """A bar for each value, upright or lying, in any order, of the right length."""
    ink = _ink(path)
    wanted = np.sort(np.asarray(values, dtype=float)) / max(values)
    best = "no bars are seen"
    for lying in (False, True):
        lengths = np.sort(_bars(ink.T if lying else ink))
        if len(lengths) != len(wanted):
            best = f"{len(lengths)} bars are seen, not {len(wanted)}" if len(lengths) else best
            continue
        if np.abs(lengths / lengths.max() - wanted).max() <= 0.06:
            return
        best = "the bars are not as long as the values"
    raise Wrong(best)


def _bars(ink: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The heights of what stands apart from its neighbours."""
    heights = ink.sum(axis=0)
    found: list[float] = []
    run: list[float] = []
    for height in [*heights.tolist(), 0, 0]:
        if height > 2:
            run.append(height)
        elif run:
            if len(run) >= 5:
                found.append(float(np.median(run)))
            run = []
    return np.asarray(found)


def curve(path: Path, values: Sequence[float], least: float = 0.8) -> None:
    """A curve through the values, which are evenly spaced."""
    ink = _ink(path)
    across = np.flatnonzero(ink.any(axis=0))
    if len(across) < ink.shape[1] * 0.4:
        raise Wrong("no curve runs across the picture")
    thick = np.median(ink.sum(axis=0)[across]) / max(1, np.ptp(np.flatnonzero(ink.any(axis=1))))
    if thick > 0.4:
        raise Wrong("it is no single curve")
    heights = np.asarray([ink.shape[0] - np.flatnonzero(ink[:, x]).mean() for x in across])
    places = (across - across[0]) / (across[-1] - across[0])
    wanted = np.interp(places, np.linspace(0, 1, len(values)), np.asarray(values, dtype=float))
    if heights.std() == 0 or float(np.corrcoef(heights, wanted)[0, 1]) < least:
        raise Wrong("the curve does not follow the values")


def _ink(path: Path) -> "np.ndarray[Any, Any]":
    """Which pixels are coloured; where none is, the dark ones inside that are no frame or grid."""
    image = picture(path, "PNG").convert("RGBA")
    if image.width < 150 or image.height < 120:
        raise Wrong(f"{path.name} is too small to be read")
    pixels = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"), dtype=int)
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > COLOURED
    if coloured.mean() > 0.002:
        return coloured
    height, width = coloured.shape
    dark = pixels.sum(axis=2) < 380
    dark = dark & ~(dark.mean(axis=1) > 0.6)[:, None] & ~(dark.mean(axis=0) > 0.6)[None, :]
    dark[: height // 8], dark[-height // 7 :], dark[:, : width // 7], dark[:, -width // 10 :] = 0, 0, 0, 0
    if dark.mean() < 0.002:
        raise Wrong("nothing is drawn")
    return dark
