"""Renaming by example: the pattern, and that it does what the example says."""

import re

import pytest

from allod.interpreter.checks import demands
from allod.interpreter.patterns import pattern, renaming

LIKE = [
    ("Rename pictures named like IMG_20230514_101010.jpg to the form 2023-05-14_101010.jpg.",
     "IMG_20201224_095419.jpg", "2020-12-24_095419.jpg"),
    ("Rename files like scan_12_05_2024.pdf to 2024-05-12_scan.pdf", "scan_1_11_2025.pdf", "2025-11-1_scan.pdf"),
    ("files such as 'report-2021-3.txt' should become '2021_3.txt'", "report-2019-12.txt", "2019_12.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "name", "renamed"), LIKE)
def test_a_pattern_does_what_the_example_says(task: str, name: str, renamed: str):
    line = renaming(task)
    assert line in demands(task, set())
    regex, form = re.findall(r'r?"([^"]+)"', line)
    found = re.fullmatch(regex, name)
    assert found is not None
    assert eval(f"f{form!r}", {"m": found}) == renamed


@pytest.mark.parametrize(
    "task",
    ["", "Rename them", "Files like a.txt to b.txt", "like 1.txt to 1.txt", "Rename x1.txt to y2.txt", "like " * 5000],
)
def test_nothing_is_said_where_it_is_not_clear(task: str):
    assert renaming(task) == ""


def test_braces_and_brackets_are_meant_as_they_are():
    assert pattern("a(1).txt", "a{1}.txt") == (r"a\((\d+)\)\.txt", "a{{{m[1]}}}.txt")


def test_digits_that_are_not_in_the_old_name():
    assert pattern("IMG_2023.jpg", "2024.jpg") is None
