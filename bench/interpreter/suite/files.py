"""Writing the files of a job: tables, workbooks, PDFs with ruled tables, Word files, pictures. No downloads."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

FIRST = (
    "Ada",
    "Bela",
    "Carla",
    "Deniz",
    "Emil",
    "Fatou",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Luis",
    "Mara",
    "Nils",
)
LAST = ("Abel", "Brandt", "Costa", "Dietz", "Ekman", "Farkas", "Gruber", "Haas", "Ivanov", "Jung", "Keller", "Lorenz")
WORDS = """
please check the old cupboard before lunch nobody has seen the green folder since the move the printer on the
second floor needs paper again and the coffee is nearly out thanks for the quick help with the window see you
after the weekend
""".split()  # noqa: SIM905


def people(rng: Random, count: int) -> list[str]:
    """Different names of people."""
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    return rng.sample(names, count)


def prose(rng: Random, words: int) -> str:
    """A sentence of no meaning and without digits."""
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def table(
    path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]], *, sep: str = ",", encoding: str = "utf-8"
) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=sep, lineterminator="\n").writerows([head, *rows])


def workbook(path: Path, sheets: Mapping[str, Iterable[Sequence[Any]]]) -> None:
    """An Excel file, sheet by sheet, rows as they are."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)


def pdf(path: Path, pages: Iterable[Iterable[str | Sequence[Sequence[str]]]]) -> None:
    """A PDF: each page holds lines of text (str) and ruled tables (rows of cells)."""
    bodies = [_page(page) for page in pages]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(bodies)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(bodies)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, body in enumerate(bodies):
        resources = "<< /Font << /F1 3 0 R >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources {resources} /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(body.encode('cp1252'))} >>\nstream\n{body}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    data += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    path.write_bytes(data)


def _page(items: Iterable[str | Sequence[Sequence[str]]]) -> str:
    """The drawing of one page, from its top down."""
    y, out = 790.0, ["0.5 w"]
    for item in items:
        if isinstance(item, str):
            out.append(_text(50, y, item, 11))
            y -= 22
            continue
        widths = [max(len(row[i]) for row in item) * 5.6 + 14 for i in range(len(item[0]))]
        edges = [50 + sum(widths[:i]) for i in range(len(widths) + 1)]
        top = y + 13
        for row in item:
            out += [_text(edges[i] + 5, y, cell, 10) for i, cell in enumerate(row)]
            y -= 18
        bottom = top - 18 * len(item)
        out += [
            f"{edges[0]:.1f} {top - 18 * i:.1f} m {edges[-1]:.1f} {top - 18 * i:.1f} l S" for i in range(len(item) + 1)
        ]
        out += [f"{edge:.1f} {top:.1f} m {edge:.1f} {bottom:.1f} l S" for edge in edges]
        y -= 14
    return "\n".join(out)


def _text(x: float, y: float, said: str, size: int) -> str:
    said = said.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F1 {size} Tf {x:.1f} {y:.1f} Td ({said}) Tj ET"


def scene(width: int, height: int, rng: Random) -> Any:
    """A picture that is no other way up or round the same: a sky, hills, a sun, houses."""
    from PIL import Image, ImageDraw

    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    image = Image.blend(image, Image.new("RGB", (width, height), (70, 130, 220)), 0.6)
    draw = ImageDraw.Draw(image)
    sun, at = min(width, height) // 5, rng.randint(0, width // 3)
    draw.ellipse((at, height // 12, at + sun, height // 12 + sun), fill=(250, 210, 40))
    draw.polygon([(0, height), (0, height * 3 // 5), (width, height * 4 // 5), (width, height)], fill=(40, 140, 60))
    for _ in range(5):
        x, y, w = rng.randint(width // 3, width), rng.randint(height // 2, height * 4 // 5), width // 9
        draw.rectangle((x, y, x + w, y + w), fill=tuple(rng.randint(60, 255) for _ in range(3)))
    return image
