"""What pandas does without a word and a model did not mean is an error in a job; what it means still works."""

import subprocess
import sys
from pathlib import Path

import pytest

from allod.interpreter import kernels

INSIDE = Path(kernels.__file__).parent / "inside"
BEGIN = """
import sys
sys.path.insert(0, sys.argv[1])
import pandas as pd
import dialect_pandas
dialect_pandas.pandas(pd)
df = pd.DataFrame({"k": list("aabbc"), "q": [1, 2, 3, 4, 5], "p": [2.0, 3, 4, 5, 6]})
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", BEGIN + code, str(INSIDE)], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


WRONG = {
    "a column of groups": "df['m'] = df.groupby('k')['q'].mean()",
    "a product of sums": "g = df.groupby('k', as_index=False)[['q', 'p']].sum()\ng['r'] = g['q'] * g['p']",
    "an index of groups that is not saved": "df.groupby('k').sum().to_csv('/dev/null', index=False)",
    "a pivot's index that is not saved": "df.pivot_table(index='k', values='q').to_excel('/dev/null', index=False)",
    "a product of aggregates": "g = df.groupby('k').agg({'q': 'sum', 'p': 'sum'}).reset_index()\ng['r'] = g.q * g.p",
}
RIGHT = {
    "df['m'] = df.groupby('k')['q'].transform('mean')\nprint(df['m'].sum())": "15.0",
    "df['m'] = df['k'].map(df.groupby('k')['q'].mean())\nprint(df['m'].sum())": "15.0",
    "print(len(df.groupby('k').sum().reset_index().to_csv(index=False)))": "30",
    "print(len(df.set_index('k', drop=False).to_csv(index=False)))": "46",
    "print(len(df.to_csv(index=False, thousands=None)) > 9)": "True",
    "df['r'] = df.q * df.p\nprint(df.groupby('k')['r'].sum().sum())": "70.0",
    "g = df.groupby('k').agg({'q': 'sum', 'p': 'mean'})\nprint((g.q * g.p).sum())": "69.0",
    "g = df.groupby('k')[['q', 'p']].sum()\nprint((g.q / g.p * 2).round(2).tolist())": "[1.2, 1.56, 1.67]",
    "s = df.set_index('k')\ns['m'] = 1\nprint(len(s))": "5",
    "e = pd.DataFrame(index=['a', 'b'])\ne['m'] = df.groupby('k')['q'].mean()\nprint(e.m.tolist())": "[1.5, 3.5]",
    "e = pd.DataFrame()\ne['m'] = df.groupby('k')['q'].mean()\nprint(len(e))": "3",
}


@pytest.mark.parametrize("code", WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_an_error_that_says_what_to_write(code: str):
    said = run(code)
    told = "as_index=False" in said or ".reset_index()" in said
    assert "NotMeant: " in said and (told or 'df["amount"] = df["q"] * df["p"]' in said)


@pytest.mark.parametrize(("code", "printed"), RIGHT.items())
def test_what_is_meant_works(code: str, printed: str):
    assert run(code) == printed
