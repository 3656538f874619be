"""Excel, PDF and Word files: jobs of an office."""

from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


class TravelCosts(Task):
    kind = "excel"
    prompts = (
        "travel.xlsx has our travel costs, but above the table there are a few lines of text. Sum up the amount per "
        "person "
        "and per category and save that as an Excel file travel_sums.xlsx with the columns Person, Category, Amount.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        total: dict[tuple[str, str], float] = {}
        rows = []
        for at in range(84):
            who, what = rng.choice(["Adele", "Boris", "Cem"]), rng.choice(["Hotel", "Meals", "Taxi", "Train"])
            amount = rng.randint(350, 26_000) / 100
            rows.append((f"{1 + at % 28}.{1 + at // 28}.2024", who, what, amount))
            total[who, what] = total.get((who, what), 0) + amount
        head = [
            ("Travel costs 2024",),
            ("as of 2 April, not yet checked",),
            (),
            ("Date", "Person", "Category", "Amount"),
        ]
        files.workbook(folder / "travel.xlsx", {"Costs": head + rows})
        return [(*pair, amount) for pair, amount in total.items()]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "travel_sums.xlsx", "Person", "Category", "Amount|Total"), facts)

    solution = """
import pandas as pd
d = pd.read_excel("travel.xlsx", skiprows=3)
d.groupby(["Person", "Category"], as_index=False).Amount.sum().to_excel("travel_sums.xlsx", index=False)
"""
    wrong = (
        "# the index holds the names of the second level only\nimport pandas as pd\n"
        "d = pd.read_excel('travel.xlsx', skiprows=3)\n"
        "d.groupby(['Category'], as_index=False).Amount.sum().to_excel('travel_sums.xlsx', index=False)",
        "# the mean\nimport pandas as pd\nd = pd.read_excel('travel.xlsx', skiprows=3)\n"
        "d.groupby(['Person', 'Category'], as_index=False).Amount.mean().to_excel('travel_sums.xlsx', index=False)",
    )


class OrderForm(Task):
    kind = "excel"
    prompts = (
        "In order.xlsx there are two sheets: Prices (article, price) and Order (article, pieces). Write invoice.xlsx "
        "with one "
        "row for each line of the order: Article, Pieces, Price, Sum (pieces times price; 10% less where it is 50 "
        "pieces or "
        "more). What is the total of the invoice?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        goods = (
            "Bolt M6",
            "Bolt M8",
            "Nut M6",
            "Nut M8",
            "Washer",
            "Hinge",
            "Bracket",
            "Screw 4x30",
            "Screw 5x60",
            "Hook",
        )
        price = {name: rng.randint(8, 990) / 100 for name in goods}
        order = [(rng.choice(goods), rng.choice([5, 12, 20, 49, 50, 80, 200])) for _ in range(26)]
        files.workbook(
            folder / "order.xlsx",
            {"Prices": [("Article", "Price"), *price.items()], "Order": [("Article", "Pieces"), *order]},
        )
        return [(name, n, price[name], round(n * price[name] * (0.9 if n >= 50 else 1), 4)) for name, n in order]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "invoice.xlsx", "Article", "Pieces", "Price", "Sum|Total")
        got = [row for row in got if str(row[0]).strip().casefold() not in ("total", "sum", "none", "")]
        tables.rows(got, facts)
        answers.number(said, sum(row[3] for row in facts), within=0.011, what="the total")

    solution = """
import pandas as pd
sheets = pd.read_excel("order.xlsx", sheet_name=None)
d = sheets["Order"].merge(sheets["Prices"], on="Article", how="left")
d["Sum"] = d.Pieces * d.Price
d.loc[d.Pieces >= 50, "Sum"] *= 0.9
d.to_excel("invoice.xlsx", index=False)
print(round(d.Sum.sum(), 2))
"""
    wrong = (
        "# no rebate\nimport pandas as pd\ns = pd.read_excel('order.xlsx', sheet_name=None)\n"
        "d = s['Order'].merge(s['Prices'])\nd['Sum'] = d.Pieces * d.Price\nd.to_excel('invoice.xlsx')\n"
        "print(d.Sum.sum())",
        "# not at 50 itself\nimport pandas as pd\ns = pd.read_excel('order.xlsx', sheet_name=None)\n"
        "d = s['Order'].merge(s['Prices'])\nd['Sum'] = d.Pieces * d.Price\nd.loc[d.Pieces > 50, 'Sum'] *= 0.9\n"
        "d.to_excel('invoice.xlsx', index=False)\nprint(d.Sum.sum())",
    )


class ClassTest(Task):
    kind = "excel"
    prompts = (
        "Take grades.xlsx and add a sheet named Summary to it, with the columns class, pupils, mean points and "
        "passed (how "
        "many have 50 points or more), one row for each class sheet. The class sheets should stay as they are.",
    )
    changes = ("grades.xlsx",)

    def make(self, folder: Path, rng: Random) -> Any:
        sheets, facts = {}, []
        for name in ("7a", "7b", "8a", "8c"):
            points = [rng.randint(18, 100) for _ in range(rng.randint(17, 29))]
            sheets[name] = [("Name", "Points"), *zip(files.people(rng, len(points)), points, strict=True)]
            facts.append((name, len(points), sum(points) / len(points), sum(p >= 50 for p in points)))
        files.workbook(folder / "grades.xlsx", sheets)
        return sheets, facts

    def check(self, folder: Path, said: str, facts: Any) -> None:
        import openpyxl

        path = tables.there(folder / "grades.xlsx")
        tables.rows(tables.columns(path, "class", "pupils", "mean_points|mean", "passed"), facts[1], within=0.051)
        book = openpyxl.load_workbook(path)
        if "Summary" not in book.sheetnames:
            raise Wrong("there is no sheet Summary")
        for name, rows in facts[0].items():
            if name not in book.sheetnames or [tuple(row) for row in book[name].iter_rows(values_only=True)] != rows:
                raise Wrong(f"the sheet {name} is not as it was")

    solution = """
import pandas as pd
rows = []
for name, d in pd.read_excel("grades.xlsx", sheet_name=None).items():
    rows.append([name, len(d), round(d.Points.mean(), 1), (d.Points >= 50).sum()])
summary = pd.DataFrame(rows, columns=["class", "pupils", "mean points", "passed"])
with pd.ExcelWriter("grades.xlsx", mode="a", engine="openpyxl") as writer:
    summary.to_excel(writer, sheet_name="Summary", index=False)
"""
    wrong = (
        "# the other sheets are gone\nimport pandas as pd\n"
        "rows = [[n, len(d), d.Points.mean(), (d.Points >= 50).sum()] "
        "for n, d in pd.read_excel('grades.xlsx', sheet_name=None).items()]\n"
        "pd.DataFrame(rows, columns=['class', 'pupils', 'mean points', 'passed'])"
        ".to_excel('grades.xlsx', sheet_name='Summary', index=False)",
        "# more than 50\nimport pandas as pd\n"
        "rows = [[n, len(d), d.Points.sum(), (d.Points > 50).sum()] "
        "for n, d in pd.read_excel('grades.xlsx', sheet_name=None).items()]\n"
        "w = pd.ExcelWriter('grades.xlsx', mode='a', engine='openpyxl')\n"
        "pd.DataFrame(rows, columns=['class', 'pupils', 'mean points', 'passed'])"
        ".to_excel(w, sheet_name='Summary', index=False)\nw.close()",
    )


class StaffHolidays(Task):
    kind = "excel"
    prompts = (
        "holidays.xlsx has a sheet for each department with the holidays people took. In each sheet the columns are in "
        "another order. Make one file holidays_all.csv out of it: department, name, days. Only people with more than "
        "10 days, "
        "most days first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = iter(files.people(rng, 60))
        sheets, found = {}, []
        for department in ("Sales", "Store", "Office", "Kitchen"):
            rows = [(next(names), rng.choice(["full", "half"]), rng.randint(3, 30)) for _ in range(rng.randint(8, 15))]
            found += [(department, name, days) for name, _, days in rows if days > 10]
            order = rng.sample(range(3), 3)
            sheets[department] = [[row[i] for i in order] for row in [("name", "contract", "days"), *rows]]
        files.workbook(folder / "holidays.xlsx", sheets)
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "holidays_all.csv", "department", "name", "days")
        tables.rows(got, facts)
        tables.descending(got, 2)

    solution = """
import pandas as pd
d = pd.concat(pd.read_excel("holidays.xlsx", sheet_name=None), names=["department"]).reset_index(level=0)
d = d[d.days > 10].sort_values("days", ascending=False)
d[["department", "name", "days"]].to_csv("holidays_all.csv", index=False)
"""
    wrong = (
        "# the first sheet\nimport pandas as pd\nd = pd.read_excel('holidays.xlsx').assign(department='Sales')\n"
        "d[d.days > 10].sort_values('days', ascending=False).to_csv('holidays_all.csv', index=False)",
        "# everybody\nimport pandas as pd\n"
        "d = pd.concat(pd.read_excel('holidays.xlsx', sheet_name=None), names=['department']).reset_index(level=0)\n"
        "d.sort_values('days', ascending=False).to_csv('holidays_all.csv', index=False)",
    )


class FerryTimes(Task):
    kind = "pdf"
    prompts = (
        "The ferry timetable ferries.pdf has a table on each of its two pages. Save them together as ferries.csv "
        "with the "
        "same columns, without the crossings that take longer than 60 minutes.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        ports = ("Calais", "Dover", "Ramsgate", "Ostende", "Harwich", "Vlissingen")
        rows = []
        for at in range(52):
            start, end = rng.sample(ports, 2)
            rows.append(
                (f"F{at + 11}", f"{5 + at % 17:02d}:{rng.randint(0, 59):02d}", start, end, str(rng.randint(25, 140)))
            )
        head = ("Ferry", "Departure", "From", "To", "Minutes")
        pages = [
            ["Ferries in summer", "Valid from 1 May to 30 September.", [head, *rows[:30]], "Page 1 of 2"],
            ["Ferries in summer", [head, *rows[30:]], "No liability for delays in fog.", "Page 2 of 2"],
        ]
        files.pdf(folder / "ferries.pdf", pages)
        return [row for row in rows if int(row[4]) <= 60]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        names = ("Ferry", "Departure", "From", "To", "Minutes")
        tables.rows(tables.columns(folder / "ferries.csv", *names), facts)

    solution = """
import pandas as pd, pdfplumber
rows = []
with pdfplumber.open("ferries.pdf") as pdf:
    for page in pdf.pages:
        for table in page.extract_tables():
            head, rows = table[0], rows + table[1:]
d = pd.DataFrame(rows, columns=head)
d[d.Minutes.astype(int) <= 60].to_csv("ferries.csv", index=False)
"""
    wrong = (
        "# the first page\nimport pandas as pd, pdfplumber\nt = "
        "pdfplumber.open('ferries.pdf').pages[0].extract_table()\n"
        "d = pd.DataFrame(t[1:], columns=t[0])\nd[d.Minutes.astype(int) <= 60].to_csv('ferries.csv', index=False)",
        "# the second heading among the rows, compared as text\nimport pandas as pd, pdfplumber\n"
        "t = sum((p.extract_table() for p in pdfplumber.open('ferries.pdf').pages), [])\n"
        "d = pd.DataFrame(t[1:], columns=t[0])\nd[d.Minutes <= '60'].to_csv('ferries.csv', index=False)",
    )


class WinePrices(Task):
    kind = "pdf"
    prompts = (
        "wines.pdf is the price list of a wine dealer, with a table for red and one for white. Put both into an "
        "Excel file "
        "wines.xlsx: colour, wine, vintage, price, with the price as a number. And which one is the most expensive?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = {
            "red": ("Barolo", "Rioja Reserva", "Château Lalande", "Blaufränkisch", "Zweigelt", "Malbec", "Dão Tinto"),
            "white": ("Grüner Veltliner", "Riesling trocken", "Soave", "Chablis", "Vinho Verde", "Furmint", "Fendant"),
        }  # fmt: skip
        facts, pages = [], []
        for colour, wines in names.items():
            rows = [(colour, wine, rng.randint(2012, 2023), rng.randint(590, 9900) / 100) for wine in wines]
            facts += rows
            cells = [(wine, str(year), f"€ {price:.2f}") for _, wine, year, price in rows]
            pages.append([f"{colour.title()} wines", [("Wine", "Vintage", "Price"), *cells], "Prices per bottle"])
        files.pdf(folder / "wines.pdf", [["Price list 2024", *pages[0], *pages[1]]])
        return facts

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "wines.xlsx", "colour|color", "wine", "vintage", "price")
        tables.rows([(str(row[0]).replace(" wines", ""), *row[1:]) for row in got], facts)
        answers.word(said, max(facts, key=lambda row: row[3])[1])

    solution = """
import pandas as pd, pdfplumber
rows = []
with pdfplumber.open("wines.pdf") as pdf:
    for colour, table in zip(["red", "white"], pdf.pages[0].extract_tables()):
        rows += [[colour, wine, int(year), float(price.replace("€", ""))] for wine, year, price in table[1:]]
d = pd.DataFrame(rows, columns=["colour", "wine", "vintage", "price"])
d.to_excel("wines.xlsx", index=False)
print(d.loc[d.price.idxmax()])
"""
    wrong = (
        "# the price as text\nimport pandas as pd, pdfplumber\nts = "
        "pdfplumber.open('wines.pdf').pages[0].extract_tables()\n"
        "r = [[c, *x] for c, t in zip(['red', 'white'], ts) for x in t[1:]]\n"
        "d = pd.DataFrame(r, columns=['colour', 'wine', 'vintage', 'price'])\nd.to_excel('wines.xlsx')\n"
        "print(d.sort_values('price').wine.iloc[-1])",
        "# red alone\nimport pandas as pd, pdfplumber\nt = pdfplumber.open('wines.pdf').pages[0].extract_table()\n"
        "d = pd.DataFrame([['red', w, y, float(p[2:])] for w, y, p in t[1:]], "
        "columns=['colour', 'wine', 'vintage', 'price'])\nd.to_excel('wines.xlsx')\nprint(d.loc[d.price.idxmax()])",
    )


class MinutesDocument(Task):
    kind = "word"
    prompts = (
        "minutes.docx has the minutes of our meeting, with a table of tasks at the end. Save the open ones (status "
        "open) as "
        "open_tasks.xlsx with the columns task, who, until. How many are open?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        import docx

        rows = [
            (
                files.prose(rng, 4).rstrip("."),
                rng.choice(files.FIRST),
                f"2024-{rng.randint(5, 12):02d}-{rng.randint(1, 28):02d}",
                rng.choice(["open", "open", "done", "dropped"]),
            )
            for _ in range(24)
        ]
        document = docx.Document()
        document.add_heading("Minutes of the meeting", 0)
        people = document.add_table(rows=1, cols=2)
        people.rows[0].cells[0].text, people.rows[0].cells[1].text = "Present", "Ada, Emil, Kira"
        for _ in range(5):
            document.add_heading(files.prose(rng, 3), 2)
            document.add_paragraph(files.prose(rng, 30))
        table = document.add_table(rows=0, cols=4)
        for row in [("Task", "Who", "Until", "Status"), *rows]:
            for cell, said in zip(table.add_row().cells, row, strict=True):
                cell.text = said
        document.save(str(folder / "minutes.docx"))
        return [row[:3] for row in rows if row[3] == "open"]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "open_tasks.xlsx", "task", "who", "until"), facts)
        answers.number(said, len(facts), what="the number of open tasks")

    solution = """
import docx, pandas as pd
rows = [[cell.text for cell in row.cells] for row in docx.Document("minutes.docx").tables[-1].rows]
d = pd.DataFrame(rows[1:], columns=["task", "who", "until", "status"])
d = d[d.status == "open"].drop(columns="status")
d.to_excel("open_tasks.xlsx", index=False)
print(len(d))
"""
    wrong = (
        "# all tasks\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('minutes.docx').tables[-1].rows]\n"
        "pd.DataFrame(r[1:], columns=['task', 'who', 'until', 'status']).to_excel('open_tasks.xlsx')\nprint(len(r) - "
        "1)",
        "# the first table\nimport docx, pandas as pd\n"
        "r = [[c.text for c in x.cells] for x in docx.Document('minutes.docx').tables[0].rows]\n"
        "pd.DataFrame(r, columns=['task', 'who']).to_excel('open_tasks.xlsx')\nprint(len(r))",
    )


class ContractNames(Task):
    kind = "word"
    prompts = (
        "letter.docx is a form letter with the gaps {{name}}, {{course}} and {{price}}. Fill it in for each row of "
        "people.csv "
        "and save the letters in a new folder letters, named after the person, like letters/Ada Abel.docx.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        import docx

        rows = [
            (name, rng.choice(["Pottery", "Spanish", "Yoga", "Welding"]), str(rng.randint(40, 260)))
            for name in files.people(rng, 11)
        ]
        files.table(folder / "people.csv", ("name", "course", "price"), rows)
        lines = [
            "Dear {{name}},",
            "thank you for signing up for {{course}}.",
            "The fee is {{price}} euros. See you, {{name}}!",
        ]
        document = docx.Document()
        for line in lines:
            document.add_paragraph(line)
        document.add_table(rows=1, cols=2).rows[0].cells[1].text = "Participant: {{name}}"
        document.save(str(folder / "letter.docx"))
        return [(row, [*lines, "Participant: {{name}}"]) for row in rows]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        import docx

        for (name, course, price), lines in facts:
            try:
                document = docx.Document(str(tables.there(folder / "letters" / f"{name}.docx")))
            except (OSError, ValueError, KeyError) as error:
                raise Wrong(f"{name}.docx does not open: {error}") from None
            cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
            got = [text.strip() for text in [*(p.text for p in document.paragraphs), *cells] if text.strip()]
            filled = {"{{name}}": name, "{{course}}": course, "{{price}}": price}
            for line in lines:
                for gap, value in filled.items():
                    line = line.replace(gap, value)
                if line not in got:
                    raise Wrong(f"{name}.docx does not say {line!r}")

    solution = """
import docx, os, pandas as pd
os.makedirs("letters", exist_ok=True)
for row in pd.read_csv("people.csv", dtype=str).to_dict("records"):
    d = docx.Document("letter.docx")
    cells = [c for t in d.tables for r in t.rows for c in r.cells]
    for p in [*d.paragraphs, *(p for c in cells for p in c.paragraphs)]:
        for key, value in row.items():
            p.text = p.text.replace("{{" + key + "}}", value)
    d.save(f"letters/{row['name']}.docx")
"""
    wrong = (
        "# the table is forgotten\nimport docx, os, pandas as pd\nos.makedirs('letters')\n"
        "for row in pd.read_csv('people.csv', dtype=str).to_dict('records'):\n    d = docx.Document('letter.docx')\n"
        "    for p in d.paragraphs:\n        for k, v in row.items(): p.text = p.text.replace('{{' + k + '}}', v)\n"
        "    d.save(f\"letters/{row['name']}.docx\")",
        "# copies\nimport os, shutil, pandas as pd\nos.makedirs('letters')\n"
        "for n in pd.read_csv('people.csv').name: shutil.copy('letter.docx', f'letters/{n}.docx')",
    )
