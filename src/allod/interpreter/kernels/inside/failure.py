# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false
"""An exception as a short text: the user's own frames, the failing line, and what the names in it hold."""

import ast
import difflib
import itertools
import linecache
import os
import reprlib
import sys
import traceback

SHOWN = 160  # characters of one value
VALUES = 8  # names of the failing line that are described
FRAMES = 6
MESSAGE = 2000

short = reprlib.Repr()
short.maxstring = short.maxother = short.maxlong = 80
short.maxlist = short.maxtuple = short.maxset = short.maxdict = 6


def report(shell, etype, value, tb):
    """The content of an ``error`` message. Besides Jupyter's three keys: line, source, values, hint."""
    message = clip(str(value) if not isinstance(value, SyntaxError) else value.msg or "", MESSAGE)
    frames = own_frames(shell, tb)
    lines, values = [], []
    number, source = 0, ""
    if isinstance(value, SyntaxError):
        number, source = value.lineno or 0, (value.text or "").rstrip("\n")
        lines.append(f"line {number}: {source.strip()}")
        if value.offset and source:
            indent = len(source) - len(source.lstrip())
            lines.append(" " * (len(f"line {number}: ") + max(0, value.offset - 1 - indent)) + "^")
    for frame, line in frames[:FRAMES]:
        text = linecache.getline(frame.f_code.co_filename, line).strip()
        where = frame.f_code.co_name
        file = own_file(shell, frame.f_code.co_filename)
        place = f"line {line}" + (f" of {file}" if file else "") + (f" in {where}" if where != "<module>" else "")
        lines.append(f"{place}: {text}")
        if not file:
            number, source = line, text
    if frames and not isinstance(value, SyntaxError):
        frame, line = frames[-1]
        values = describe_names(frame, statement(frame, line))
    name = etype.__name__
    lines.append(f"{name}: {message}" if message else name)
    cause = value.__cause__
    if cause is not None and str(cause) not in message:
        lines.append(clip(f"caused by {type(cause).__name__}: {cause}", SHOWN * 2))
    return {
        "ename": name,
        "evalue": message,
        "traceback": lines,
        "line": number,
        "source": source,
        "values": values,
        "hint": hint(name, value, message) or meant(value, frames[-1][0] if frames else None),
    }


def own_frames(shell, tb):
    """The frames of the user's code and files, outermost first; not those of libraries."""
    found = []
    for frame, line in traceback.walk_tb(tb):
        if own_file(shell, frame.f_code.co_filename) is not None:
            found.append((frame, line))
    if len(found) > FRAMES:
        found = found[: FRAMES // 2] + found[-FRAMES // 2 :]
    return found


def own_file(shell, filename):
    """ "" for code of a cell, the name for a file of the user's, None for a library's."""
    if filename in shell.compile._filename_map or filename.startswith("<ipython-input"):
        return ""
    if filename.startswith("<"):
        return None
    path = os.path.abspath(filename)
    here = os.getcwd()
    if not os.path.exists(path):  # compiled code names its source by a relative path: pandas/_libs/properties.pyx
        return None
    if path.startswith(here + os.sep) and "site-packages" not in path and not path.startswith(sys.prefix + os.sep):
        return os.path.relpath(path, here)
    return None


def statement(frame, line):
    """The innermost statement around a line, as a syntax tree; None where it cannot be parsed."""
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    best = None
    for node in ast.walk(tree):
        inside = isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
        if inside and (best is None or node.lineno >= best.lineno):
            best = node
    return best


def describe_names(frame, node):
    """What the names of a statement hold, each one line. Compound statements: their head only."""
    if node is None:
        return []
    parts = [node]
    if hasattr(node, "body"):
        parts = [child for name, child in ast.iter_fields(node) if name in ("test", "iter", "items", "subject")]
        parts = [each for part in parts for each in (part if isinstance(part, list) else [part])]
    lines, seen = [], set()
    for part in parts:
        for each in ast.walk(part):
            if not isinstance(each, ast.Name) or each.id in seen:
                continue
            seen.add(each.id)
            value = frame.f_locals.get(each.id, frame.f_globals.get(each.id, seen))
            if value is seen or callable(value) or type(value).__name__ == "module":
                continue
            lines.append(clip(f"{each.id} = {describe(value)}", SHOWN))
    return lines[:VALUES]


def describe(value):
    """What a value is, in a line, without calling code of the user's where that can be avoided."""
    kind = type(value)
    name = kind.__name__
    root = (kind.__module__ or "").partition(".")[0]
    try:
        if root == "pandas" and name == "DataFrame":
            columns = ", ".join(f"{c!r}" for c in list(value.columns)[:20])
            return f"DataFrame, {len(value)} rows, columns [{columns}]"
        if root == "pandas" and name == "Series":
            first = short.repr(value.iloc[0]) if len(value) else "none"
            return f"Series {value.name!r} of {value.dtype}, {len(value)} rows, first {first}"
        if root == "numpy" and name == "ndarray":
            return f"array of {value.dtype}, shape {value.shape}"
        if kind is dict:
            keys = ", ".join(short.repr(k) for k in list(value)[:12])
            return f"dict, {len(value)} keys [{keys}]"
        if kind in (list, tuple):
            first = f", first {describe_item(value[0])}" if value else ""
            return f"{name} of {len(value)}{first}"
        if kind in (str, bytes, int, float, bool, type(None), complex):
            return short.repr(value)
        if kind in (set, frozenset):
            return f"{name} of {len(value)}: {short.repr(value)}"
        return f"{name} {short.repr(value)}"
    except BaseException:  # noqa: BLE001  # whatever a value's own methods do
        return name


def describe_item(value):
    """An element of a list: dicts with their keys, all else short."""
    return describe(value) if type(value) in (dict, list) else short.repr(value)


def clip(text, size):
    """Text of at most ``size`` characters."""
    return text if len(text) <= size else text[: size - 1] + "…"


def hint(name, value, message):
    """One line on what the sandbox has to do with it; empty where it has nothing."""
    number = getattr(value, "errno", None)
    network = ("gaierror", "URLError", "ConnectError", "ConnectionError", "ConnectTimeout", "NewConnectionError",
               "MaxRetryError", "ClientConnectorError", "ServerNotFoundError", "HerokuConnectionError")  # fmt: skip
    unreachable = ("Network is unreachable", "Name or service not known", "Temporary failure in name resolution",
                   "Max retries exceeded", "No route to host")  # fmt: skip
    if name in network or number in (101, 113) or any(text in message for text in unreachable):
        if granted := os.environ.get("ALLOD_NET"):
            return f"Of the network only {granted} can be reached here, by the proxy that HTTPS_PROXY names."
        return "There is no network in this sandbox. Work with the files of the folder."
    if isinstance(value, OSError) and number in (1, 13, 30):
        path = os.path.abspath(os.fsdecode(value.filename)) if isinstance(value.filename, str | bytes) else ""
        if number == 13 and path.startswith(os.getcwd() + os.sep):
            return "It belongs to somebody else. Write a new file instead."
        return f"Only files in {os.getcwd()} and in {os.environ.get('TMPDIR', '/tmp')} can be written."
    if isinstance(value, FileNotFoundError):
        path = str(value.filename or "")
        outside = os.path.isabs(path) and not path.startswith(os.getcwd())
        if outside or path.startswith("~"):
            return f"Only files in {os.getcwd()} can be seen; give the name of one there."
        return nearest_file(path)
    if isinstance(value, OSError) and number == 18:
        return "Move folders with shutil.move."
    if isinstance(value, MemoryError):
        return "The memory limit of the sandbox was reached. Read the data in pieces."
    if isinstance(value, BlockingIOError) or "can't start new thread" in message:
        return "The limit of processes of the sandbox was reached."
    if name == "StdinNotImplementedError":
        return "Nobody can answer input() here. Take the values from the task."
    if isinstance(value, ModuleNotFoundError):
        return sys.modules["_allod_modules"].hint(value.name)
    return ""


def nearest_file(path):
    """Which file was meant, or which there are."""
    folder = os.path.dirname(path) or "."
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "."
    there = sorted(os.listdir(folder))
    wanted = os.path.basename(path).lower()
    near = difflib.get_close_matches(wanted, [name.lower() for name in there], 1, 0.7)
    if near:
        return f"Did you mean {next(name for name in there if name.lower() == near[0])!r}?"
    shown = ", ".join(repr(name) for name in there[:10]) + (" …" if len(there) > 10 else "")
    return f"In {os.path.abspath(folder)} there is: {shown or 'nothing'}."


def keys_of(value):
    """The keys of a dict, the columns of a table; the first few hundred, where they are text."""
    if type(value).__name__ == "DataFrame" and type(value).__module__.startswith("pandas."):
        value = value.columns
    elif type(value) is not dict:
        return []
    return [key for key in itertools.islice(value, 300) if isinstance(key, str)]


def meant(value, frame):
    """The name or key that was probably meant, for one that does not exist."""
    if isinstance(value, KeyError) and frame is not None and value.args and isinstance(value.args[0], str):
        keys = {key for each in frame.f_locals.copy().values() for key in keys_of(each)} - {value.args[0]}
        near = difflib.get_close_matches(value.args[0].lower(), [key.lower() for key in keys], 1, 0.7)
        return f"Did you mean {next(key for key in keys if key.lower() == near[0])!r}?" if near else ""
    wanted = getattr(value, "name", None)
    if not isinstance(wanted, str) or frame is None:
        return ""
    if isinstance(value, NameError):
        there = {**frame.f_globals, **frame.f_locals}
    elif isinstance(value, AttributeError):
        there = dir(value.obj)
    else:
        return ""
    near = difflib.get_close_matches(wanted, [name for name in there if not name.startswith("_")], 1, 0.75)
    return f"Did you mean {near[0]!r}?" if near else ""
