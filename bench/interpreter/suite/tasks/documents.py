"""PDF and Word: jobs on documents that hold tables."""

from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task


def document(path: Path, parts: list[str | list[tuple[str, ...]]]) -> None:
    """A Word file of paragraphs and tables; a paragraph that begins with # is a heading."""
    import docx

    made = docx.Document()
    for part in parts:
        if isinstance(part, str):
            made.add_heading(part[2:], 1) if part.startswith("# ") else made.add_paragraph(part)
            continue
        grid = made.add_table(0, len(part[0]))
        for row in part:
            for cell, said in zip(grid.add_row().cells, row, strict=True):
                cell.text = said
    made.save(str(path))


class HotelBill(Task):
    kind = "pdf"
    prompts = (
        "Put the table of bill.pdf (it goes over two pages) into bill.csv with the columns date, item, amount, and "
        "tell "
        "me the total and how much of it was breakfast.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        items = {"Room": 8900, "Breakfast": 1450, "Parking": 1200, "Minibar": 0, "Laundry": 0}
        rows = [
            (f"2024-08-{day:02d}", item, (price or rng.randint(300, 3900)) / 100)
            for day in range(2, 15)
            for item, price in items.items()
            if item in ("Room", "Breakfast") or rng.random() < 0.4
        ]
        written = [("Date", "Item", "Amount"), *((day, item, f"{amount:.2f}") for day, item, amount in rows)]
        half = len(written) // 2
        pages = [["Hotel Linde - Bill", written[:half]], [[written[0], *written[half:]], "Thank you for your stay."]]
        files.pdf(folder / "bill.pdf", pages)
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "bill.csv", "date", "item", "amount"), facts)
        answers.number(said, sum(row[2] for row in facts), within=0.0051, what="the total")
        breakfast = sum(row[2] for row in facts if row[1] == "Breakfast")
        answers.number(said, breakfast, within=0.0051, what="the price of the breakfasts")

    solution = """
import pandas as pd, pdfplumber
rows = []
for page in pdfplumber.open("bill.pdf").pages:
    for table in page.extract_tables():
        rows += table[1:]
d = pd.DataFrame(rows, columns=["date", "item", "amount"])
d["amount"] = d.amount.astype(float)
d.to_csv("bill.csv", index=False)
print(round(d.amount.sum(), 2), round(d[d["item"] == "Breakfast"].amount.sum(), 2))
"""
    wrong = (
        "# the first page\nimport pandas as pd, pdfplumber\nt = pdfplumber.open('bill.pdf').pages[0].extract_table()\n"
        "d = pd.DataFrame(t[1:], columns=['date', 'item', 'amount'])\nd['amount'] = d.amount.astype(float)\n"
        "d.to_csv('bill.csv', index=False)\nprint(d.amount.sum(), d[d['item'] == 'Breakfast'].amount.sum())",
        "# heading of the second page as a row\nimport pandas as pd, pdfplumber\n"
        "r = [x for p in pdfplumber.open('bill.pdf').pages for x in p.extract_table()]\n"
        "d = pd.DataFrame(r[1:], columns=['date', 'item', 'amount'])\nd.to_csv('bill.csv', index=False)\n"
        "a = pd.to_numeric(d.amount, errors='coerce')\nprint(a.sum(), a[d['item'] == 'Breakfast'].sum())",
    )


class ExamResults(Task):
    kind = "pdf"
    prompts = (
        "results.pdf lists the results of our exam, group by group. Put all of them into results.xlsx with the columns "
        "name, points, the most points first, and tell me how many have 50 points or more.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = files.people(rng, 36)
        points = rng.sample(range(12, 100), 36)
        rows = list(zip(names, points, strict=True))
        pages: list[list[Any]] = []
        for page, group in enumerate(("Group A", "Group B", "Group C")):
            own = rows[12 * page : 12 * page + 12]
            pages.append([group, [("Name", "Points"), *((name, str(each)) for name, each in own)]])
        files.pdf(folder / "results.pdf", pages)
        return sorted(rows, key=lambda row: -row[1])

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "results.xlsx", "name", "points"), facts, ordered=True)
        answers.number(said, sum(points >= 50 for _, points in facts), what="the number of those with 50 or more")

    solution = """
import pandas as pd, pdfplumber
rows = []
for page in pdfplumber.open("results.pdf").pages:
    for table in page.extract_tables():
        rows += table[1:]
d = pd.DataFrame(rows, columns=["name", "points"])
d["points"] = d.points.astype(int)
d.sort_values("points", ascending=False).to_excel("results.xlsx", index=False)
print((d.points >= 50).sum())
"""
    wrong = (
        "# sorted as text\nimport pandas as pd, pdfplumber\n"
        "r = [x for p in pdfplumber.open('results.pdf').pages for x in p.extract_table()[1:]]\n"
        "d = pd.DataFrame(r, columns=['name', 'points'])\n"
        "d.sort_values('name', ascending=False).to_excel('results.xlsx', index=False)\n"
        "print((d.points.astype(int) >= 50).sum())",
        "# the first group\nimport pandas as pd, pdfplumber\n"
        "t = pdfplumber.open('results.pdf').pages[0].extract_table()\n"
        "d = pd.DataFrame(t[1:], columns=['name', 'points'])\nd['points'] = d.points.astype(int)\n"
        "d.sort_values('points', ascending=False).to_excel('results.xlsx', index=False)\nprint((d.points >= 50).sum())",
    )


class PriceListWord(Task):
    kind = "word"
    prompts = (
        "prices.docx has our price list as a table. Save it as prices.csv with the columns article, price, the prices "
        "as "
        "plain numbers, and tell me which article is the dearest.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        articles = (
            "Bench",
            "Bookcase",
            "Chest",
            "Desk",
            "Lamp",
            "Mirror",
            "Shelf",
            "Sofa",
            "Stool",
            "Table",
            "Wardrobe",
        )
        prices = rng.sample([each + rng.choice([0, 0.5, 0.95]) for each in range(40, 3900, 37)], len(articles))
        rows = list(zip(rng.sample(articles, len(articles)), prices, strict=True))
        grid = [("Article", "Price"), *((article, f"{price:,.2f} EUR") for article, price in rows)]
        document(folder / "prices.docx", ["# Price list", "Valid from May.", grid, "All prices with tax."])
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "prices.csv", "article", "price"), facts)
        answers.word(said, max(facts, key=lambda row: row[1])[0])

    solution = """
import docx, pandas as pd
rows = [[cell.text for cell in row.cells] for row in docx.Document("prices.docx").tables[0].rows]
d = pd.DataFrame(rows[1:], columns=["article", "price"])
d["price"] = d.price.str.replace(r"[^0-9.]", "", regex=True).astype(float)
d.to_csv("prices.csv", index=False)
print(d.loc[d.price.idxmax(), "article"])
"""
    wrong = (
        "# prices as they are\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('prices.docx').tables[0].rows]\n"
        "d = pd.DataFrame(r[1:], columns=['article', 'price'])\nd.to_csv('prices.csv', index=False)\n"
        "print(d.sort_values('price').article.iloc[-1])",
        "# the cheapest\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('prices.docx').tables[0].rows]\n"
        "d = pd.DataFrame(r[1:], columns=['article', 'price'])\n"
        "d['price'] = d.price.str.replace(r'[^0-9.]', '', regex=True).astype(float)\n"
        "d.to_csv('prices.csv', index=False)\n"
        "print(d.loc[d.price.idxmin(), 'article'])",
    )


class TeamListWord(Task):
    kind = "word"
    prompts = (
        "team.docx has a table of our people with their department and hours per week. Save departments.csv with the "
        "columns department, people, hours: how many people and how many hours in all each department has.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found: dict[str, list[int]] = {}
        grid: list[tuple[str, ...]] = [("Name", "Department", "Hours")]
        for name in files.people(rng, 34):
            department, hours = (
                rng.choice(["Kitchen", "Garden", "Office", "Workshop"]),
                rng.choice([10, 20, 25, 30, 38]),
            )
            grid.append((name, department, str(hours)))
            found.setdefault(department, []).append(hours)
        document(folder / "team.docx", ["# Our team", "As of June.", grid])
        return [(department, len(hours), sum(hours)) for department, hours in found.items()]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "departments.csv", "department", "people", "hours"), facts)

    solution = """
import docx, pandas as pd
rows = [[cell.text for cell in row.cells] for row in docx.Document("team.docx").tables[0].rows]
d = pd.DataFrame(rows[1:], columns=["name", "department", "hours"])
d["hours"] = d.hours.astype(int)
t = d.groupby("department").agg(people=("name", "count"), hours=("hours", "sum")).reset_index()
t.to_csv("departments.csv", index=False)
print(t)
"""
    wrong = (
        "# the average\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('team.docx').tables[0].rows]\n"
        "d = pd.DataFrame(r[1:], columns=['name', 'department', 'hours'])\nd['hours'] = d.hours.astype(int)\n"
        "d.groupby('department').agg(people=('name', 'count'), hours=('hours', 'mean')).to_csv('departments.csv')",
        "# with the heading as a person\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('team.docx').tables[0].rows]\n"
        "d = pd.DataFrame(r, columns=['name', 'department', 'hours'])\n"
        "d['hours'] = pd.to_numeric(d.hours, errors='coerce').fillna(0)\n"
        "d.groupby('department').agg(people=('name', 'count'), hours=('hours', 'sum')).to_csv('departments.csv')",
    )
