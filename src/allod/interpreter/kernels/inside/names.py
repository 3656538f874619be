# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false, reportMissingImports=false
"""Imports the usual names that code uses without importing them: ``pd``, ``np``, ``plt``, ``Path``, ``json`` …

Models forget the import, above all in the second block of a job. Before a cell runs, the names that it reads and that
nothing binds are looked up here; what is found is imported as if the code had said so, and nothing else is.
"""

import ast
import builtins
import importlib

# name → module, or module:attribute
USUAL = {
    "pd": "pandas", "np": "numpy", "plt": "matplotlib.pyplot", "mpl": "matplotlib", "mdates": "matplotlib.dates",
    "ticker": "matplotlib.ticker", "sns": "seaborn", "ET": "xml.etree.ElementTree", "tk": "tkinter",
    "Path": "pathlib:Path", "defaultdict": "collections:defaultdict", "Counter": "collections:Counter",
    "OrderedDict": "collections:OrderedDict", "namedtuple": "collections:namedtuple", "deque": "collections:deque",
    "timedelta": "datetime:timedelta", "timezone": "datetime:timezone", "date": "datetime:date",
    "StringIO": "io:StringIO", "BytesIO": "io:BytesIO", "Decimal": "decimal:Decimal",
    "Fraction": "fractions:Fraction", "partial": "functools:partial", "reduce": "functools:reduce",
    "lru_cache": "functools:lru_cache", "chain": "itertools:chain", "groupby": "itertools:groupby",
    "combinations": "itertools:combinations", "permutations": "itertools:permutations",
    "itemgetter": "operator:itemgetter", "dataclass": "dataclasses:dataclass", "Enum": "enum:Enum",
    "ZipFile": "zipfile:ZipFile", "ZoneInfo": "zoneinfo:ZoneInfo", "sleep": "time:sleep", "dedent": "textwrap:dedent",
    "Image": "PIL.Image", "ImageDraw": "PIL.ImageDraw", "ImageFont": "PIL.ImageFont", "ImageOps": "PIL.ImageOps",
    "ImageFilter": "PIL.ImageFilter", "ImageEnhance": "PIL.ImageEnhance", "PdfReader": "pypdf:PdfReader",
    "PdfWriter": "pypdf:PdfWriter", "Document": "docx:Document", "load_workbook": "openpyxl:load_workbook",
    "Workbook": "openpyxl:Workbook", "BeautifulSoup": "bs4:BeautifulSoup",
    "relativedelta": "dateutil.relativedelta:relativedelta",
    "Any": "typing:Any", "Dict": "typing:Dict", "List": "typing:List", "Optional": "typing:Optional",
    "Tuple": "typing:Tuple", "Union": "typing:Union",
}  # fmt: skip
MODULES = (
    "argparse", "array", "asyncio", "base64", "bisect", "calendar", "cmath", "codecs", "collections", "configparser",
    "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "docx", "email", "fnmatch",
    "fractions", "functools", "getpass", "glob", "gzip", "hashlib", "heapq", "html", "inspect", "io", "itertools",
    "json", "locale", "logging", "math", "mimetypes", "multiprocessing", "numpy", "openpyxl", "operator", "os",
    "pandas", "pathlib", "pdfplumber", "pickle", "platform", "pprint", "pypdf", "random", "re", "secrets", "shlex",
    "shutil", "signal", "sqlite3", "stat", "statistics", "string", "struct", "subprocess", "sys", "tarfile",
    "tempfile", "textwrap", "threading", "time", "tomllib", "traceback", "types", "typing", "unicodedata", "urllib",
    "uuid", "warnings", "xlsxwriter", "xml", "yaml", "zipfile", "zlib", "zoneinfo",
)  # fmt: skip
# Names that are both a module and something in it: which one the code means shows in how it uses the name. The module
# is meant where one of its attributes is read; else the thing of the same name.
BOTH = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone", "UTC", "MINYEAR", "MAXYEAR"),
    "time": ("time", "sleep", "strftime", "localtime", "gmtime", "perf_counter", "monotonic", "mktime", "ctime"),
    "glob": ("glob", "iglob", "escape"),
    "pprint": ("pprint", "pformat", "PrettyPrinter"),
    "copy": ("copy", "deepcopy"),
    "tqdm": ("tqdm", "trange", "auto", "notebook"),
    "product": (),
    "random": ("random", "randint", "choice", "choices", "sample", "shuffle", "seed", "uniform", "gauss", "Random"),
}
HOME = {"product": "itertools"}


class Importer(ast.NodeVisitor):
    """An AST transformer for IPython that leaves the tree as it is and brings in what it lacks."""

    def __init__(self, namespace):
        self.namespace = namespace

    def visit(self, tree):
        """Looks at one cell."""
        try:
            for name, node in missing(tree, self.namespace).items():
                value = find(name, node)
                if value is not None:
                    self.namespace[name] = value
        except Exception:  # noqa: BLE001, S110  # the cell itself will say what is wrong
            pass
        return tree


def missing(tree, namespace):
    """The names that a cell reads and nothing binds, each with the node that tells how it is used."""
    bound, read, use = set(), set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            use.setdefault(node.value.id, node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            use[node.func.id] = node
    free = read - bound - set(namespace) - set(dir(builtins))
    return {name: use.get(name) for name in sorted(free)}


def place(name, node):
    """The module of which a name usually is, and what it is in there, "" for the module itself; None where unknown."""
    module, _, attribute = USUAL.get(name, "").partition(":")
    if name in BOTH:
        module = HOME.get(name, name)
        reads = node.attr if isinstance(node, ast.Attribute) else None
        attribute = "" if reads in BOTH[name] or (reads and name != "datetime") else name
    elif not module and name in MODULES:
        module = name
    return (module, attribute) if module else None


def find(name, node):
    """What a name usually stands for; None where it stands for nothing, or that is not installed."""
    found = place(name, node)
    if found is None:
        return None
    module, attribute = found
    try:
        value = importlib.import_module(module)
    except ImportError:
        return None
    return getattr(value, attribute, None) if attribute else value
