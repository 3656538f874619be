"""Hard checks: what a task asks for is read from its words, and what a result lacks is said."""

import pytest

from allod.interpreter import checks
from allod.interpreter.checks import (
    Result,
    asked_columns,
    asked_order,
    demands,
    made_files,
    needs_code,
    problems,
    renames,
    unspoken,
)


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("Put the table into films.xlsx, longest first", ["films.xlsx"]),
        ("Save it as a CSV file out/result.csv.", ["out/result.csv"]),
        ("Write them to a new Excel file totals.xlsx with the columns a and b", ["totals.xlsx"]),
        ("Draw it and save it as 'chart.png'", ["chart.png"]),
        ("Sum up the file sales.csv", ["sales.csv"]),  # there already, so it is never missed
        ("rename pictures like IMG_1.jpg to the form 2023-1.jpg", []),
        ("What is 3.14 times 2?", []),
        ("", []),
    ],
)
def test_files_that_are_to_be_made(task: str, files: list[str]) -> None:
    assert made_files(task) == files


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("save it with the columns country and revenue, highest first.", ["country", "revenue"]),
        ("with the columns order_id, customer, unit price.", ["order_id", "customer", "unit price"]),
        ("with the columns Product, Units, and Price for each month", ["Product", "Units", "Price"]),
        ("Save as errors.csv with hour and count, and tell me", ["hour", "count"]),
        ("one row for each copy with title, author, year and shelf.", ["title", "author", "year", "shelf"]),
        (
            "as songs.csv with one line a song: artist, title, and rating (empty where there is none).",
            ["artist", "title", "rating"],
        ),
        (
            "into books.csv: isbn, title, authors (several by a semicolon), year. Only those in print.",
            ["isbn", "title", "authors", "year"],
        ),
        ("most first, as readers.csv (name, loans).", ["name", "loans"]),
        ("Columns: agent, open, closed, days.", ["agent", "open", "closed", "days"]),
        ("Make a.csv: sort it, drop the empty rows and save it", []),
        ("Look at a.csv (from Ann, who has left)", []),
        ("make x.xlsx with name and average grade of each pupil", []),
        ("with Ann and Bob", []),
        ("Convert it to a normal file cities.csv with commas, and tell me the total", []),
        ("into a.csv with commas and tell me how many", []),
        ("fill the columns", []),
        ("with the same columns", []),
    ],
)
def test_columns_that_are_asked_for(task: str, columns: list[str]) -> None:
    assert asked_columns(task) == columns


@pytest.mark.parametrize(
    ("task", "order"),
    [
        ("into films.xlsx, longest film first", ("down", "longest film first")),
        ("cheapest first", ("up", "cheapest first")),
        ("best (lowest) average first", ("any", "best (lowest) average first")),
        (
            "Save what is left, sorted by value from high to low, and go on",
            ("down", "sorted by value from high to low"),
        ),
        ("in ascending order", ("up", "in ascending order")),
        ("one a line, sorted", ("any", "sorted")),
        ("Which is the largest file? Tell me first.", ("", "")),
        ("count the rows", ("", "")),
    ],
)
def test_order_that_is_asked_for(task: str, order: tuple[str, str]) -> None:
    assert asked_order(task) == order


def table(path: str = "out.csv", **changes: object) -> Result:
    return Result(**({"path": path, "columns": ["a", "b"], "rows": 3, "order": {"a": "down"}} | changes))  # type: ignore[arg-type]


def test_nothing_to_complain_about() -> None:
    task = "Save a and b as out.csv with the columns a and b, highest first, without duplicates"
    assert problems(task, {"in.csv", "out.csv"}, [table()], printed="") == []
    assert problems("How many rows are there?", {"in.csv"}, [], printed="3") == []


@pytest.mark.parametrize(
    ("task", "results", "printed", "words"),
    [
        ("save it as other.csv", [table()], "3", "other.csv was not written"),
        ("with the columns a and c", [table()], "3", "should have a, c"),
        ("smallest first", [table()], "3", "not in order"),
        ("sorted by b", [table(order={})], "3", "not in order"),
        ("do it", [table(columns=["Unnamed: 0", "a"])], "3", "index=False"),
        ("do it", [table(rows=0)], "3", "no rows"),
        ("do it", [], " \n", "Nothing was printed"),
        ("do it", [], "   a    b\n0  1  NaN\n1  2  NaN\n2  3  NaN\n", "mostly NaN"),
        ("each only once", [Result("x.txt", repeated=2)], "3", "2 duplicates"),
    ],
)
def test_complaints(task: str, results: list[Result], printed: str, words: str) -> None:
    found = problems(task, {"in.csv", "out.csv", "x.txt"}, results, printed)
    assert len(found) == 1
    assert words in found[0]


def test_an_order_cannot_be_missed_in_one_row() -> None:
    assert problems("highest first", set(), [table(rows=1, order={"a": "same"})], printed="3") == []
    assert problems("highest first", set(), [table(rows=1, order={})], printed="3") == []


def test_columns_are_compared_by_their_letters() -> None:
    assert problems("with the columns Unit price and name", set(), [table(columns=["unit_price", "Name"])], "3") == []


def test_demands_name_what_is_not_there_yet() -> None:
    task = "From the file in.csv make out.csv with the columns a and b, highest first"
    assert demands(task, {"in.csv"}) == ["the columns a, b", "sorted: highest first", "save it as out.csv with to_csv"]
    assert demands("save the unique ones as unique.csv, sorted", set()) == [
        "no duplicates",
        "sorted",
        "save it as unique.csv with to_csv",
    ]
    assert demands("save them as unique.csv", set()) == ["save it as unique.csv with to_csv"]


def test_when_an_answer_without_code_is_believed() -> None:
    assert needs_code("Sum up the invoices", {"invoices.csv"})
    assert needs_code("What is 7 to the power of 3000?", set())
    assert not needs_code("Who wrote Faust?", set())
    assert not needs_code("Reply with exactly these words, run nothing: hello 22", {"a.csv"})


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (
            "Which town had most rain, and how many days were dry?",
            ["Which town had most rain", "how many days were dry"],
        ),
        ("Which IP got most and how many?", []),
        ("What is the total? Save it as a.csv.", []),
        (
            "How many are late, how many days in all, and which is worst?",
            ["How many are late", "how many days in all", "which is worst"],
        ),
    ],
)
def test_several_questions_in_one_sentence_are_listed(task: str, found: list[str]) -> None:
    assert checks.questions(task) == found


def test_capitals_where_small_letters_were_wanted() -> None:
    task = "Save the words in words.txt, in small letters"
    wrong = Result("words.txt", "text, 2 lines", first=["ape", "Bear"])
    assert "in lower case, with .lower()" in checks.demands(task, set())
    assert checks.problems(task, {"words.txt"}, [wrong], "x") == ["words.txt has capital letters."]
    assert not checks.problems(task, {"words.txt"}, [Result("words.txt", "", first=["ape"])], "x")
    assert not checks.asked_case("the same address, apart from capital letters")


def test_columns_end_where_they_are_explained() -> None:
    assert checks.asked_columns("in hours.csv with the columns person, monday, hours, where monday is a date") == [
        "person", "monday", "hours",
    ]  # fmt: skip


def test_a_product_is_made_in_the_rows() -> None:
    found = checks.demands("Add up the revenue (units times price) of each shop", set())
    assert found[0] == "revenue is units times price of each row, made a column before anything is summed"
    assert not checks.demands("Which shop (in Ulm) sold most?", set())


@pytest.mark.parametrize(
    ("missing", "there", "names"),
    [
        (
            ["buyer", "town"],
            ["buyer.name", "buyer.address.town"],
            {"buyer.address.town": "town", "buyer.name": "buyer"},
        ),
        (["total"], ["total_2019", "total_2020"], {}),  # either may be meant
        (["name"], ["first name", "last name"], {}),
        (["units"], ["price", "item"], {}),
        (["Unit Price"], ["unitprice"], {}),  # one part only: not a longer name
        ([], ["a.b"], {}),
        (["a"], [], {}),
    ],
)
def test_columns_that_are_there_under_a_longer_name(
    missing: list[str], there: list[str], names: dict[str, str]
) -> None:
    assert renames(missing, there) == names


def test_a_table_with_longer_names_is_told_how_to_rename_them() -> None:
    table = Result("out.csv", columns=["id", "buyer.name"], rows=3)
    [missing, how] = problems("Save it as out.csv with the columns id and buyer.", {"out.csv"}, [table], "3 rows")
    assert "it should have id, buyer" in missing
    assert how == "Use .rename(columns={'buyer.name': 'buyer'})."


@pytest.mark.parametrize(
    ("task", "touched", "wrong"),
    [
        ("What is the mean wind in weather.csv?", ["weather.csv"], True),
        ("Put the table of films.pdf into films.xlsx, longest film first", ["films.pdf"], True),
        ("Draw the sales of sales.csv as a chart and save it as chart.png", ["sales.csv", "chart.png"], True),
        ("How many pictures are in photos?", ["photos/a.jpg", "photos/b.jpg", "photos/c.jpg", "photos/d.jpg"], True),
        ("Put the table of films.pdf into films.xlsx", ["films.xlsx"], False),  # it was there, and is to be made
        ("Sort the rows of sales.csv by price", ["sales.csv"], False),
        ("Rename the photos by their date", ["IMG_1.jpg"], False),
        ("Remove what is there twice in contacts", ["contacts.vcf"], False),
        ("Write the totals into the last row of the budget", ["budget.xlsx"], False),
        ("Tidied folders please", ["a.txt"], False),
        ("What is the mean wind in weather.csv?", [], False),
        ("", [], False),
    ],
)
def test_files_that_nobody_spoke_of_stay_as_they_are(task: str, touched: list[str], wrong: bool) -> None:
    assert bool(unspoken(task, touched)) == wrong
    if wrong:
        assert touched[0] in unspoken(task, touched) and "d.jpg" not in unspoken(task, touched)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            "Save them as a.csv, without the trips that take longer than 60 minutes.",
            "without the trips that take longer than 60 minutes",
        ),
        (
            "Turn a.xml into a.csv. Only the books that are in print (available is yes).",
            "Only the books that are in print",
        ),
        (
            "Sum it up. Orders of customers who have left do not count.",
            "Orders of customers who have left do not count",
        ),
        (
            "a row for each town and a column for each month, plus the sum",
            "one row for each town, one column for each month: .pivot_table(index=…, columns=…, values=…)",
        ),
        (
            "Add a sheet named Sum to g.xlsx",
            'keep its other sheets: pd.ExcelWriter("g.xlsx", engine="openpyxl", mode="a")',
        ),
    ],
)
def test_what_is_easily_forgotten_is_said_once_more(task: str, said: str) -> None:
    assert said in demands(task, {"a.csv", "g.xlsx"})


@pytest.mark.parametrize(
    "task", ["each only once, without duplicates", "Who only drinks tea?", "a row of trees, a column of smoke", "."]
)
def test_no_condition_where_there_is_none(task: str) -> None:
    assert not checks.conditions(task)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("a column for each month, plus a column year with the sum", ["year"]),
        ("Put it into a further column final_price of priced.csv", ["final_price"]),
        ("with the additional column price.", ["price"]),
        ("Add a column called net with the price without tax", ["net"]),
        ("add a new column for each of them, and a column with the sum", []),
        ("Sum the last column of a.csv", []),
    ],
)
def test_columns_besides_others(task: str, columns: list[str]) -> None:
    assert checks.more_columns(task) == columns


def test_a_column_besides_others_is_missed() -> None:
    table = Result("a.csv", columns=["town", "Jan"], rows=2)
    task = "Make a.csv, a row for each town, plus a column year with the sum"
    assert checks.table_problems(task, table) == ["a.csv has no column year."]
    assert not checks.table_problems(task, Result("a.csv", columns=["town", "Year"], rows=2))
