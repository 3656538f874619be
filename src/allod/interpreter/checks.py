"""Hard checks: what can be seen to be missing in a result, by the words of the task, without asking a model.

They are few and sure rather than many and clever: a complaint makes the model try again. Each is put as a sentence that
tells the model what is wrong. What the files hold was looked at inside the sandbox (``probe.results``).
"""

import re
from collections.abc import Sequence

from msgspec import Struct, field

from allod.interpreter.patterns import renaming
from allod.interpreter.probe.linking import key, renames

ENDINGS = "csv|tsv|txt|xlsx?|jsonl?|png|jpe?g|gif|webp|pdf|md|html?|docx|db|sqlite3?|zip|svg|bmp|tiff?|xml|ya?ml|log"
# A file that is to be made is spoken of as "save it as X", "into an Excel file X", "write them to X".
MAKE = r"\b(?:as|into|to|in|make|create|write|save|saved|called|named|file|output|produce|draw|build|list)"
KIND = (
    r"(?:(?:a|an|the|one|new|normal|single|UTF-8|Excel|CSV|JSON|PNG|text|flat|file|table|sheet|chart|called|named)\s+)*"
)
MADE = re.compile(rf"{MAKE}\s+{KIND}[\"'`]?([\w./-]*[\w-]+\.(?:{ENDINGS}))\b", re.IGNORECASE)

HOW = {"csv": " with to_csv", "xlsx": " with to_excel"}  # else a model does as the example did

DOWN = "longest|largest|biggest|highest|greatest|most|heaviest|tallest|dearest|most expensive"
UP = "shortest|smallest|lowest|fewest|least|lightest|cheapest"
EITHER = "best|worst|top|newest|latest|oldest|earliest|youngest|first"
FIRST = re.compile(rf"\b(?:(?P<down>{DOWN})|(?P<up>{UP})|(?P<any>{EITHER}))\b[ \w()]{{0,30}}\bfirst\b")
ORDER = (
    (re.compile(r"\bdescending|\b(high|large|big|long|new)(est)? to (the )?(low|small|short|old)"), "down"),
    (re.compile(r"\bascending|\b(low|small|short|old)(est)? to (the )?(high|large|big|long|new)"), "up"),
    (re.compile(r"\b(sort(ed)?|order(ed)?|rank(ed)?) by\b|\balphabetical|\bsorted\b"), "any"),
)
FIRST_NOT = r"(?!(?:where|which|so|then|one|with|sorted)\b)"
THEN_NOT = r"(?!(?:for|in|from|of|with|and|to|as|on|by|only|sorted|each)\b)"
NAME = rf"{FIRST_NOT}[\w-]+(?: {THEN_NOT}[\w-]+)?"
COLUMNS = re.compile(rf"\b[Cc]olumns:?\s+({NAME}(?:(?:,? and |, ){NAME})+)")
# … and where no word says that they are columns: "save it as errors.csv with hour and count", "with a, b, c and d".
WORD = r"(?!(?:tell|give|show|print|save|how|what|which|then|also|make|the|all|one|no|only)\b)\w+"
MANY = rf"(?:{WORD}, )+{WORD} and {WORD}"
WITH = re.compile(
    rf"(?:\.(?:csv|xlsx|json) with (?={WORD} and |{MANY})|\bwith (?={WORD}, {WORD}, ))"
    rf"({MANY}|{WORD} and {WORD})\b(?! \w+ (?:and|of)\b)"
)
# "as songs.csv with one line a song: artist, title and rating", "into books.csv: isbn, title, year".
COLON = re.compile(
    rf"(?:\.(?:csv|tsv|xlsx|json)|\b(?:one|a|each) (?:line|row|object)[\w ]{{0,20}}): "
    rf"((?:{WORD}, ){{2,}}(?:and )?{WORD}|{WORD}, {WORD},? and {WORD})(?=[.;\n]|$)"
)
ASIDE = re.compile(r" \([^()]*\)")
BRACKETS = re.compile(rf"\.(?:csv|tsv|xlsx|json) \(({WORD}(?:, {WORD})+)\)")  # "readers.csv (name, loans)"
# What a small model forgets most: which rows are meant, and what a table is to look like.
CONDITION = re.compile(
    r"(?:(?<=[,;:(.] )|(?<=and ))((?:but )?(?:without|only|except|excluding|leaving out|ignoring|not counting|"
    r"leave out|skip|ignore|omit)\b(?!(?: any)? duplicates)[^,.:;()]{8,90})",
    re.IGNORECASE,
)
LEFT_OUT = re.compile(r"[^.;:,]{6,90} (?:(?:are|is) (?:to be )?left out|do(?:es)? not count|must not be counted)\b")
PIVOT = re.compile(
    r"\b(?:one|a) row (?:for (?:each|every)|per|a) (\w+)\b.{0,60}?\b(?:one|a) column (?:for (?:each|every)|per|a) (\w+)"
)
# "plus a column year with the sum", "into a further column final_price": one by itself, with others there.
ONE = r"(?!(?:for|with|of|in|to|that|which|is|and|on|by|from|at|each|every|per|where|as|it|them|the|names?|or)\b)\w+"
COLUMN = re.compile(
    rf"\b(?:(?:new|further|additional|extra|another|last) column (?:called |named )?({ONE})|"
    rf"(?:plus|and|add) an? (?:new |last )?column (?:called |named )?({ONE}) (?:with|for|of|that)\b[^,.;]*)",
    re.IGNORECASE,
)
SHEET = re.compile(r"\badd (?:a|another|one|the) (?:new |second |further )?sheet\b", re.IGNORECASE)
WORKBOOK = re.compile(r"[\w./-]*\w\.xlsx\b")
# "the revenue (units times price)": made in the rows, before anything is summed up.
PRODUCT = re.compile(r"(?<![.\w])(\w+) \(([\w ]{2,30}?) (?:times|multiplied by|x|×|\*) ([\w ]{2,30})\)", re.IGNORECASE)
EMPTY = re.compile(r"\bNaN\b")
ASKS = re.compile(
    r"\?|\b(tell|how (many|much|long|often|far)|which|what|who|whose|when|where|why|count|say|show|print|explain|"
    r"describe|report|summari[sz]e|answer|compare|find out)\b",
    re.IGNORECASE,
)
# "one a line, in small letters", not "folders named in small letters" and not "apart from capital letters".
BEFORE = r"(?:[,:;]|\b(?:and|all|them|it|everything|words|names|addresses)) (?:in|to|into)"
LOWER = re.compile(rf"{BEFORE} (?:small letters|lower[- ]?case)\b", re.IGNORECASE)
UPPER = re.compile(rf"{BEFORE} (?:capital letters|capitals|upper[- ]?case)\b", re.IGNORECASE)
# Where a second question begins within a sentence: ", and how many …", " and what was …".
QUESTION = r"(?:how (?:many|much|long|often|far|big|large|old)|which|what|who|whose|when|where)\b"
SECOND = re.compile(rf"(?:,| and|, and)\s+(?=(?:in |on |at |by |for |of |to |from )?{QUESTION})", re.IGNORECASE)
# What lets a job change files that are there. Words for making something do so only where no new file is named.
CHANGES = re.compile(
    r"\b(?:add|append|insert|fill|set|chang|edit|modif|updat|fix|correct|repair|clean|tid(?:y|ied)|sort|order|organi[sz]|"
    r"arrang|renam|mov|delet|remov|drop|strip|trim|replac|rewrit|overwrit|in place|translat|convert|transform|"
    r"normali[sz]|re?format|merg|combin|split|resiz|rotat|crop|compress|shrink|encrypt|decrypt|again|undo|mark|tag|number|label|"
    r"(?:upper|lower)[- ]?case|capitali[sz]|shorten|extend|round|redact|anonymi[sz]|patch|refactor|implement|commit|"
    r"install|build|unpack|extract|unzip|zip|archiv|migrat|import|sync|backup|back up|swap|increas|decreas|rais|lower|"
    r"double|cut|empty|clear|reset|enter|log|note|record|book|tick|cross|star|sign)(?:e?s|e?d|ing|e)?\b",
    re.IGNORECASE,
)
MAKES = re.compile(r"\b(?:save|put|write|make|create|draw|turn|output|produce|generate)\b", re.IGNORECASE)
UNIQUE = re.compile(r"\bwithout (any )?duplicates|\bno duplicates|\beach (one )?only once|\bunique\b", re.IGNORECASE)


class Result(Struct, frozen=True):
    """A file that a job wrote, as looked at inside the sandbox.

    ``order``: column → up or down (numbers, dates), a-z or z-a (text), same.
    """

    path: str
    about: str = ""
    columns: list[str] = field(default_factory=list[str])
    rows: int = 0
    order: dict[str, str] = field(default_factory=dict[str, str])
    repeated: int = 0  # lines or rows that were there before
    first: list[str] = field(default_factory=list[str])
    digest: str = ""  # the same for files that hold the same


def problems(task: str, names: set[str], results: list[Result], printed: str) -> list[str]:
    """What is missing, a sentence each; empty where nothing is seen to be.

    Args:
        names: all files there are now.
        printed: what the last block printed.
    """
    found: list[str] = []
    there = {name.rpartition("/")[2].casefold() for name in names}
    found += [
        f"{name} was not written." for name in made_files(task) if name.rpartition("/")[2].casefold() not in there
    ]
    tables = [result for result in results if result.columns]
    for table in tables:
        found += table_problems(task, table, alone=len(results) == 1)
    if not results and not printed.strip():
        found.append("Nothing was printed and no file was changed.")
    lines = [line for line in printed.splitlines() if line.strip()]
    if len(lines) > 2 and sum(bool(EMPTY.search(line)) for line in lines) > len(lines) / 2:
        found.append("The output is mostly NaN: values were assigned to rows that they do not belong to.")
    if (lists := [r for r in results if r.repeated]) and asks_unique(task):
        found.append(f"{lists[0].path} has {lists[0].repeated} duplicates.")
    if case := asked_case(task):
        wrong = "capital" if case == "lower" else "small"
        texts = [
            r for r in results if not r.columns and r.first and any(line != recased(line, case) for line in r.first)
        ]
        found += [f"{each.path} has {wrong} letters." for each in texts[:1]]
    return found


def table_problems(task: str, table: Result, alone: bool = True) -> list[str]:
    """Of one table: its columns and its order. ``alone``: it is all that was written."""
    found: list[str] = []
    asked = asked_columns(task)
    missing = [name for name in asked if key(name) not in map(key, table.columns)]
    if missing:
        found.append(
            f"{table.path} has the columns {', '.join(table.columns[:12])}, but it should have {', '.join(asked)}."
        )
        if names := renames(missing, [name for name in table.columns if key(name) not in map(key, asked)]):
            found.append(f"Use .rename(columns={names}).")
    if not asked and (lacks := [name for name in more_columns(task) if key(name) not in map(key, table.columns)]):
        found.append(f"{table.path} has no column {lacks[0]}.")
    if any(name.startswith("Unnamed: 0") for name in table.columns):
        found.append(f"{table.path} has an index column; save it with index=False.")
    if table.rows == 0 and alone:
        found.append(f"{table.path} has no rows.")
    way, words = asked_order(task)
    ways = set(table.order.values())
    if way and table.rows > 1 and not (ways if way == "any" else ways & {way, "same"}):
        found.append(f"The rows of {table.path} are not in order: sort them before you save them, {words}.")
    return found


def demands(task: str, names: set[str]) -> list[str]:
    """What can be seen that a task asks of its files, to be said to the model beforehand, in the order of doing it.

    The order matters: told to save before it is told to sort, a small model saves and forgets to sort.

    Args:
        names: the files there are; what is there already need not be made.
    """
    there = {name.rpartition("/")[2].casefold() for name in names}
    found = [f"{made} is {one} times {other} of each row, made a column before anything is summed"
             for made, one, other in PRODUCT.findall(task)]  # fmt: skip
    found += conditions(task)
    for row, column in PIVOT.findall(task):
        found.append(
            f"one row for each {row}, one column for each {column}: .pivot_table(index=…, columns=…, values=…)"
        )
    found += [match[0] for match in COLUMN.finditer(task)]
    if SHEET.search(task) and (book := WORKBOOK.search(task)):
        found.append(f'keep its other sheets: pd.ExcelWriter("{book[0]}", engine="openpyxl", mode="a")')
    if example := renaming(task):
        found.append(example)
    if case := asked_case(task):
        found.append(f"in {case} case, with .{case}()")
    if asks_unique(task):
        found.append("no duplicates")
    if columns := asked_columns(task):
        found.append(f"the columns {', '.join(columns)}")
    way, words = asked_order(task)
    if way:
        found.append(words if "sort" in words else f"sorted: {words}")
    made = [name for name in made_files(task) if name.rpartition("/")[2].casefold() not in there]
    found += questions(task)
    return found + [f"save it as {name}{HOW.get(name.rpartition('.')[2].casefold(), '')}" for name in made[:3]]


def conditions(task: str) -> list[str]:
    """What is to be left out, or alone to be taken, in the words of the task."""
    found = [match[1] for match in CONDITION.finditer(task)] + [match[0] for match in LEFT_OUT.finditer(task)]
    return [part.strip() for part in found][:3]


def questions(task: str) -> list[str]:
    """The questions of a task that asks several in one sentence: the second is easily forgotten."""
    found: list[str] = []
    for sentence in re.split(r"(?<=[.?!])\s+", task):
        parts: list[str] = []
        for part in (part.strip(" ,.?") for part in SECOND.split(sentence)):
            if parts and part.count(" ") < 2:  # "and how many" belongs to what was asked before
                parts[-1] += f" and {part}"
            else:
                parts.append(part)
        asked = [part for part in parts if re.match(rf"(?:\w+ )?{QUESTION}", part, re.IGNORECASE)]
        if len(asked) > 1:
            found += asked
    return found[:4]


def asked_case(task: str) -> str:
    """Either "lower" or "upper" where a task wants its text so."""
    return "lower" if LOWER.search(task) else "upper" if UPPER.search(task) else ""


def recased(text: str, case: str) -> str:
    """A text in that case."""
    return text.lower() if case == "lower" else text.upper()


def asks_unique(task: str) -> bool:
    """Whether nothing may be there twice."""
    return UNIQUE.search(re.sub(rf"[\w./-]+\.(?:{ENDINGS})\b", "", task)) is not None


def made_files(task: str) -> list[str]:
    """The files that a task asks to be made, as it names them."""
    return list(dict.fromkeys(match[1] for match in MADE.finditer(task)))


def asked_columns(task: str) -> list[str]:
    """The columns that a task lists: "with the columns country and revenue, highest first"."""
    match = COLUMNS.search(task) or WITH.search(task) or BRACKETS.search(task)
    match = match or COLON.search(ASIDE.sub("", task))
    if match is None:
        return []
    listed = re.split(rf", (?={DOWN}|{UP}|{EITHER}|sorted)", match[1])[0]
    return [name.strip() for name in re.split(r",\s*(?:and )?| and ", listed) if name.strip()]


def more_columns(task: str) -> list[str]:
    """The columns that a task wants besides others."""
    return [match[1] or match[2] for match in COLUMN.finditer(task)]


def asked_order(task: str) -> tuple[str, str]:
    """How the rows should go: "up", "down", "any" (in order, but which way is unclear), or ""; and the words for it."""
    said = task.casefold()
    for pattern, way in ORDER[:2]:
        if match := pattern.search(said):
            return way, sentence_part(task, match)
    if match := FIRST.search(said):
        return match.lastgroup or "any", sentence_part(task, match)
    match = ORDER[2][0].search(said)
    return ("any", sentence_part(task, match)) if match else ("", "")


def sentence_part(task: str, match: re.Match[str]) -> str:
    """The words of a match with those around it, up to the next comma or stop."""
    start = max(task.rfind(mark, 0, match.start()) for mark in ",.;:(\n") + 1
    ends = [at for mark in (",", ". ", ";", ")", "\n") if (at := task.find(mark, match.end())) >= 0]
    return task[start : min(ends, default=len(task))].strip().rstrip(".")


def unspoken(task: str, touched: Sequence[str]) -> str:
    """What is wrong where a job changed files of the user's although no word of it asks for that; empty otherwise.

    Args:
        touched: files that were there and were changed or removed.
    """
    asked = task if MAKES.search(task) else re.sub(r"\bin\b", "of", task)  # "the mean wind in weather.csv" makes none
    made = {name.rpartition("/")[2].casefold() for name in made_files(asked)}
    others = [path for path in touched if path.rpartition("/")[2].casefold() not in made]
    if not others or CHANGES.search(task) or (not made and MAKES.search(task)):
        return ""
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"{named} was changed or removed, which nobody asked for. Leave the files that are there as they are."


def needs_code(task: str, names: set[str]) -> bool:
    """Whether an answer without code is hard to believe: there are files, or the task has a number or names a file."""
    if re.search(
        r"\b(no|without|don't|do not)\b.{0,20}\b(code|run|execute)|\b(run|execute) nothing\b", task, re.IGNORECASE
    ):
        return False
    return bool(names) or bool(re.search(rf"\d|\w\.(?:{ENDINGS})\b", task))


def asks_answer(task: str) -> bool:
    """Whether a person wants to be told something, and not only to have files made or changed."""
    return ASKS.search(task) is not None
