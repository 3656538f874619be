"""Bringing variables back: what makes them is run again, what reaches outside is not."""

from typing import Any

import pytest

from allod.interpreter import replay
from allod.interpreter.replay import remembered


def run(blocks: list[str]) -> dict[str, Any]:
    """The names that the hidden block leaves."""
    names: dict[str, Any] = {}
    exec(replay.block(remembered(blocks)), names)
    return {name: value for name, value in names.items() if not name.startswith("_")}


def test_variables_imports_and_functions_come_back() -> None:
    blocks = [
        "import math\nx = 2",
        "def f(a):\n    return a * x\ny = f(math.floor(3.7))",
        "x += 1\nfor i in range(3):\n    x += i",
    ]
    names = run(blocks)
    assert (names["x"], names["y"]) == (6, 6)


@pytest.mark.parametrize(
    "statement",
    [
        "print(x)",
        "df.to_csv('a.csv')",
        "plt.savefig('a.png')",
        "os.remove('a')",
        "shutil.rmtree('a')",
        "path.rename('b')",
        "os.replace('a', 'b')",
        "for p in paths:\n    p.unlink()",
        "with open('a', 'w') as f:\n    f.write('x')",
        "with open('a', mode='ab') as f:\n    pass",
        "with zipfile.ZipFile('a.zip', 'w') as z:\n    pass",
        "with pd.ExcelWriter('a.xlsx') as w:\n    pass",
        "x = input('name?')",
        "subprocess.run(['ls'])",
        "out = os.system('ls')",
    ],
)
def test_effects_are_left_out(statement: str) -> None:
    assert remembered([f"{statement}\ny = 1"]) == ["y = 1"]


@pytest.mark.parametrize(
    "statement",
    [
        "text = open('a').read()",
        "with open('a') as f:\n    text = f.read()",
        "df['a'] = df['a'].replace('x', 'y')",
        "df.dropna(inplace=True)",
        "with pdfplumber.open('a.pdf') as pdf:\n    rows = pdf.pages[0].extract_table()",
        "def save_it(df):\n    df.to_csv('a.csv')",
        "con = sqlite3.connect('a.db')",
        "copy = list(x)",
    ],
)
def test_what_only_reads_is_kept(statement: str) -> None:
    assert len(remembered([statement])) == 1


def test_a_failing_statement_costs_only_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["x = 1\ny = missing\nz = x + 1"]) == {"x": 1, "z": 2}
    assert capsys.readouterr().out == ""


def test_broken_code_and_quotes_do_no_harm() -> None:
    assert remembered(["x = (", "y = 1\0", "é = '''a\"b'''"]) == ["é = 'a\"b'"]
    docstring = 'def f():\n    """one\n    two"""\n    return f.__doc__\nd = f()'
    assert run([docstring])["d"].split() == ["one", "two"]
    names = run(["s = '''{x}' + \"\\n\" '''", "t = s"])
    assert names["t"] == '{x}\' + "\n" '
    assert replay.block([]) == ""
