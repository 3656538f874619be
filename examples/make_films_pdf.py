"""Makes films.pdf, the file of the first example: twelve films in a table, with a heading and a line before and after.

    python examples/make_films_pdf.py        (needs reportlab)

Running times are those of the original releases, in minutes.
"""

from pathlib import Path

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

FILMS = [
    ("Modern Times", 1936, "Charlie Chaplin", 87),
    ("Citizen Kane", 1941, "Orson Welles", 119),
    ("Seven Samurai", 1954, "Akira Kurosawa", 207),
    ("Psycho", 1960, "Alfred Hitchcock", 109),
    ("The Godfather", 1972, "Francis Ford Coppola", 175),
    ("Jaws", 1975, "Steven Spielberg", 124),
    ("Blade Runner", 1982, "Ridley Scott", 117),
    ("Groundhog Day", 1993, "Harold Ramis", 101),
    ("Pulp Fiction", 1994, "Quentin Tarantino", 154),
    ("In the Mood for Love", 2000, "Wong Kar-wai", 98),
    ("Amélie", 2001, "Jean-Pierre Jeunet", 122),
    ("Roma", 2018, "Alfonso Cuarón", 135),
]


def make(path: Path) -> None:
    styles = getSampleStyleSheet()
    rows = [("Title", "Year", "Director", "Minutes"), *[tuple(str(cell) for cell in film) for film in FILMS]]
    table = Table(rows, colWidths=[150, 50, 150, 60], hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.5, colors.HexColor("#b8b8b8")),
                ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#2f4858")),
                ("TEXTCOLOR", (0, 0), (-1, 0), colors.white),
                ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#f2f5f7")]),
                ("ALIGN", (1, 0), (1, -1), "RIGHT"),
                ("ALIGN", (3, 0), (3, -1), "RIGHT"),
            ]
        )
    )
    story = [
        Paragraph("Films for the winter", styles["Title"]),
        Paragraph("The film club shows one of these twelve every Thursday at eight.", styles["Normal"]),
        Spacer(1, 12),
        table,
        Spacer(1, 12),
        Paragraph("Members pay nothing, guests bring a cake.", styles["Normal"]),
    ]
    SimpleDocTemplate(str(path), pagesize=A4, title="Films for the winter", author="", invariant=1).build(story)


if __name__ == "__main__":
    make(Path(__file__).parent / "films" / "films.pdf")
