"""The main job, several times with different seeds: does films.xlsx hold the twelve films, longest first?

    python bench/films.py [RUNS]        (the default model must be there: `allod pull qwen2.5-coder:1.5b`)

Each run is `allod do --yes` in a fresh copy of examples/films. The table is checked cell by cell against what the PDF
itself holds, as pdfplumber reads it. Ends with 1 unless every run is right.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openpyxl
import pdfplumber

from common import introduce

ROOT = Path(__file__).parent.parent
TASK = "Put the table of films in films.pdf into films.xlsx, longest film first"


def expected(pdf: Path) -> list[list[str]]:
    """Header and rows, longest first."""
    with pdfplumber.open(pdf) as document:
        head, *rows = document.pages[0].extract_tables()[0]
    minutes = [str(cell) for cell in head].index("Minutes")
    return [[str(c) for c in row] for row in (head, *sorted(rows, key=lambda row: -int(str(row[minutes]))))]


def found(path: Path) -> list[list[str]]:
    """The cells of the first sheet as text; an index column without a name is left out."""
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    if rows and rows[0][0] is None:
        rows = [row[1:] for row in rows]
    return [[str(cell) for cell in row] for row in rows]


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    introduce()
    right = 0
    for seed in range(1, runs + 1):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            pdf = Path(shutil.copy(ROOT / "examples" / "films" / "films.pdf", folder))
            began = time.monotonic()
            command = [str(Path(sys.executable).with_name("allod")), "do", "--yes", "--seed", str(seed), TASK]
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            seconds = time.monotonic() - began
            path = folder / "films.xlsx"
            ok = done.returncode == 0 and path.exists() and found(path) == expected(pdf)
            right += ok
            print(f"seed {seed}: {'right' if ok else 'WRONG'} in {seconds:.0f} s", flush=True)
            if not ok:
                print(done.stdout[-1500:], done.stderr[-500:])
    print(f"films: {right} of {runs}")
    return int(right < runs)


if __name__ == "__main__":
    sys.exit(main())
