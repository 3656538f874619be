# pyright: basic
"""What to do about a module that is not installed: install it where that was granted, else use one that is there."""

import importlib.util
import os

# module → modules of the standard set, or of Python itself, that do the same
INSTEAD = {
    "xlwt": ("openpyxl",), "xlrd": ("openpyxl", "pandas"), "pyexcel": ("openpyxl",), "xlsxwriter": ("openpyxl",),
    "pyxlsb": ("openpyxl",), "odf": ("zipfile",), "fitz": ("pdfplumber", "pypdf"), "pymupdf": ("pdfplumber", "pypdf"),
    "PyPDF2": ("pypdf",), "PyPDF4": ("pypdf",), "pdfminer": ("pdfplumber",), "tabula": ("pdfplumber",),
    "camelot": ("pdfplumber",), "pdf2image": ("pdfplumber",), "textract": ("pdfplumber", "docx"),
    "docx2txt": ("docx",), "docx2python": ("docx",), "seaborn": ("matplotlib",), "plotly": ("matplotlib",),
    "bokeh": ("matplotlib",), "altair": ("matplotlib",), "cv2": ("PIL",), "imageio": ("PIL",), "skimage": ("PIL",),
    "polars": ("pandas",), "dask": ("pandas",), "duckdb": ("sqlite3", "pandas"), "sqlalchemy": ("sqlite3",),
    "scipy": ("numpy",), "sklearn": ("numpy",), "bs4": ("html.parser",), "lxml": ("xml.etree.ElementTree",),
    "html5lib": ("html.parser",), "xmltodict": ("xml.etree.ElementTree",), "chardet": ("pandas",),
    "requests": ("urllib.request",), "simplejson": ("json",), "ujson": ("json",), "orjson": ("json",),
    "toml": ("tomllib",), "pytz": ("zoneinfo",), "arrow": ("datetime",), "pendulum": ("datetime",),
    "unicodecsv": ("csv",), "pathlib2": ("pathlib",), "rarfile": ("zipfile",), "py7zr": ("zipfile",),
    "sympy": ("fractions", "math"), "magic": ("mimetypes",), "tqdm": ("time",),
    "prettytable": ("pandas",), "tabulate": ("pandas",),
}  # fmt: skip
# module → the project that it is installed from, where that has another name
PROJECTS = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "bs4": "beautifulsoup4", "yaml": "pyyaml", "docx": "python-docx", "pptx": "python-pptx", "fitz": "pymupdf",
    "dateutil": "python-dateutil", "odf": "odfpy", "magic": "python-magic", "Crypto": "pycryptodome",
    "dotenv": "python-dotenv", "tabula": "tabula-py", "camelot": "camelot-py", "pdfminer": "pdfminer.six",
    "jwt": "pyjwt", "serial": "pyserial", "usb": "pyusb", "git": "gitpython", "attr": "attrs",
}  # fmt: skip


def hint(name):
    """One line on a module that is missing."""
    top = (name or "").partition(".")[0]
    if not top:
        return ""
    if top != name and importlib.util.find_spec(top) is not None:
        return ""  # the package is there; it has no such part
    project = PROJECTS.get(top, top)
    if os.environ.get("ALLOD_PACKAGES"):
        return f"{top} is not installed. Install it first: %pip install {project}"
    there = [each for each in INSTEAD.get(top, ()) if found(each)]
    use = f"use {' or '.join(there)}" if there else "use another library"
    offer = f"(allod do --packages lets a job install {project}.)"
    return f"{top} is not installed, and nothing can be installed here: {use}. {offer}"


def found(name):
    """Whether a module is installed."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
