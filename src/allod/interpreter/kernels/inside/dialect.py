# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false, reportMissingImports=false
"""The Python that models learned to write: names that libraries have since removed, given back when they are imported.

Nothing is imported for it. A library that the code imports is mended right after, by the function of its name below.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import warnings


def install(shell, load):
    """Gives a shell the dialect."""
    figures = load("figures").Figures(shell)
    mend = {
        "numpy": numpy,
        "pandas": load("dialect_pandas").pandas,
        "PIL.Image": pil_image,
        "PIL.ImageDraw": pil_draw,
        "PIL.ImageFont": pil_font,
        "matplotlib.pyplot": lambda module: pyplot(module, figures),
        "openpyxl": openpyxl,
    }
    sys.meta_path.insert(0, Mender(mend))
    sys.meta_path.append(Renamed())
    shell.ast_transformers.append(load("names").Importer(shell.user_ns))
    standard_library()
    for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("ignore", message="To exit: use")
    warnings.showwarning = show_warning


class Mender(importlib.abc.MetaPathFinder):
    """Runs a function on a module right after it was imported."""

    def __init__(self, mend):
        self.mend = mend

    def find_spec(self, name, path=None, target=None):
        """Finds the module as ever, and has its loader call us back."""
        if name not in self.mend:
            return None
        function = self.mend.pop(name)
        spec = importlib.util.find_spec(name) if path is None else importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            try:
                function(module)
            except Exception as error:  # noqa: BLE001  # a version of the library that is not as we know it
                print(f"[{name} could not be mended: {error}]", file=sys.stderr)

        spec.loader.exec_module = exec_module
        return spec


class Renamed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that go by another name now, where the old one is not installed."""

    def find_spec(self, name, path=None, target=None):
        """Asked last, so only for what is not there."""
        if name == "PyPDF2" and importlib.util.find_spec("pypdf"):
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        """PyPDF2 is pypdf with the names of old."""
        import pypdf

        class Reader(pypdf.PdfReader):
            numPages = property(lambda self: len(self.pages))  # noqa: N815
            getNumPages = lambda self: len(self.pages)  # noqa: E731, N815
            getPage = lambda self, number: self.pages[number]  # noqa: E731, N815

        class Writer(pypdf.PdfWriter):
            addPage = pypdf.PdfWriter.add_page  # noqa: N815

        module = type(sys)("PyPDF2")
        module.__dict__.update({k: v for k, v in vars(pypdf).items() if not k.startswith("__")})
        pypdf.PageObject.extractText = pypdf.PageObject.extract_text
        module.PdfFileReader, module.PdfFileWriter = Reader, Writer
        module.PdfFileMerger = module.PdfMerger = Writer
        return module

    def exec_module(self, module):
        """Nothing is left to do."""


def show_warning(message, category, filename, lineno, file=None, line=None):
    """One line, without the path of a library."""
    text = " ".join(str(message).split())
    print(f"{category.__name__}: {text[:300]}", file=file or sys.stderr)


def give(module, **names):
    """Adds the names that a module lacks."""
    for name, value in names.items():
        if name not in vars(module):
            setattr(module, name, value)


# ── libraries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def standard_library():
    """Names of collections, renaming folders across an overlay, and asyncio.run in a kernel that has a loop already."""
    import asyncio
    import collections
    import collections.abc as abc

    for name in ("Mapping", "MutableMapping", "Sequence", "Iterable", "Iterator", "Callable", "Set", "Hashable"):
        give(collections, **{name: getattr(abc, name)})
    for name in ("rename", "replace"):
        setattr(os, name, renaming(getattr(os, name)))
    asyncio.run = running(asyncio.run)


def renaming(real):
    """``os.rename`` that also moves a folder of the user's, which overlayfs cannot rename (EXDEV)."""

    def rename(src, dst, *, src_dir_fd=None, dst_dir_fd=None):
        try:
            real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        except OSError as error:
            movable = src_dir_fd is None and dst_dir_fd is None and os.path.isdir(src) and not os.path.islink(src)
            if error.errno != 18 or not movable or (os.path.isdir(dst) and os.listdir(dst)):
                raise
            shutil.copytree(src, dst, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(src)

    return rename


def running(real):
    """``asyncio.run`` in a thread of its own where this thread runs a loop, as the kernel's does."""

    def run(main, **kwargs):
        import asyncio
        import concurrent.futures

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return real(main, **kwargs)
        stop = []

        async def stoppable():
            stop.append((asyncio.get_running_loop(), asyncio.current_task()))
            return await main

        pool = concurrent.futures.ThreadPoolExecutor(1)
        try:
            return pool.submit(real, stoppable(), **kwargs).result()
        except BaseException:
            for loop, task in stop:
                loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            pool.shutdown(wait=False)

    return run


def numpy(np):
    """Names that numpy 1.24 and 2.0 removed."""
    give(np, float=float, int=int, object=object, str=str, complex=complex, bool=bool, long=int, unicode=str)
    give(np, float_=np.float64, complex_=np.complex128, unicode_=np.str_, string_=np.bytes_, int0=np.intp)
    give(np, NaN=np.nan, NAN=np.nan, Inf=np.inf, Infinity=np.inf, infty=np.inf, NINF=-np.inf, PINF=np.inf)
    give(np, product=np.prod, cumproduct=np.cumprod, sometrue=np.any, alltrue=np.all, row_stack=np.vstack)
    give(np, round_=np.round, in1d=lambda a, b, **k: np.isin(np.ravel(a), b, **k), msort=lambda a: np.sort(a, axis=0))
    if hasattr(np, "trapezoid"):
        give(np, trapz=np.trapezoid)


def pil_image(image):
    """Filters by their names of old."""
    give(image, ANTIALIAS=image.Resampling.LANCZOS, LINEAR=image.Resampling.BILINEAR, CUBIC=image.Resampling.BICUBIC)
    for group in (image.Resampling, image.Transpose, image.Dither, image.Palette, image.Transform):
        give(image, **{each.name: each for each in group})


def pil_draw(draw):
    """Text sizes as Pillow before 10 gave them."""

    def textsize(self, text, font=None, **kwargs):
        left, top, right, bottom = self.textbbox((0, 0), text, font=font, **kwargs)
        return right - min(0, left), bottom - min(0, top)

    give(draw.ImageDraw, textsize=textsize)


def pil_font(fonts):
    """The same for fonts."""

    def getsize(self, text, *args, **kwargs):
        left, top, right, bottom = self.getbbox(text, *args, **kwargs)
        return right - min(0, left), bottom - min(0, top)

    for kind in (fonts.FreeTypeFont, fonts.ImageFont):
        give(kind, getsize=getsize)


def pyplot(plt, figures):
    """Figures that are shown, styles that were renamed, and colour maps by name."""
    import matplotlib

    figures.install(plt)
    use = plt.style.use

    def use_style(style):
        old = style.replace("seaborn", "seaborn-v0_8", 1) if isinstance(style, str) else style
        return use(
            old if isinstance(style, str) and style.startswith("seaborn") and old in plt.style.available else style
        )

    plt.style.use = use_style
    give(matplotlib.cm, get_cmap=plt.get_cmap)


def openpyxl(module):
    """Sheets by the methods of old."""
    give(module.Workbook, get_sheet_by_name=lambda self, name: self[name], get_sheet_names=lambda self: self.sheetnames)
