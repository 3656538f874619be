# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false, reportMissingImports=false
"""pandas as of 1.x and 2.2: removed methods and arguments given back, assignments without effect told as errors."""

import sys
import warnings


class NotMeant(ValueError):
    """Code that runs and does what nobody wants; the message says what to write instead, and to another attempt too."""


def pandas(pd):
    """Mends pandas right after it was imported."""
    show(pd)
    give_back(pd)
    arguments(pd)
    columns_of_groups(pd)
    lost_index(pd)
    lost_values(pd)
    products_of_sums(pd)
    warnings.filterwarnings("ignore", message="Could not infer format")
    if hasattr(pd.errors, "ChainedAssignmentError"):
        warnings.filterwarnings("error", category=pd.errors.ChainedAssignmentError)
    if pd.__version__ < "3":
        lost_assignments(pd)


def show(pd):
    """Tables are printed wide, as a model has no terminal, and long ones by few rows, which a model has to read."""
    shown = {"width": 200, "max_columns": 40, "max_colwidth": 80, "max_rows": 40, "min_rows": 6}
    for name, value in shown.items():
        pd.set_option(f"display.{name}", value)


def give_back(pd):
    """Methods that pandas 2.0 removed."""
    frame, series = pd.DataFrame, pd.Series

    def append(self, other, ignore_index=False, verify_integrity=False, sort=False):
        if isinstance(other, dict):
            other = series(other)
        if isinstance(other, series):
            if other.name is None and not ignore_index:
                raise TypeError("Can only append a Series if ignore_index=True or if the Series has a name")
            other = other.to_frame().T.infer_objects()
        parts = [self, *(other if isinstance(other, list | tuple) else [other])]
        parts = [frame([part]) if isinstance(part, dict) else part for part in parts]
        parts = [part for part in parts if len(part) or part.shape[1]] or [self]
        return pd.concat(parts, ignore_index=ignore_index, verify_integrity=verify_integrity, sort=sort)

    def append_series(self, other, ignore_index=False, verify_integrity=False):
        parts = [self, *(other if isinstance(other, list | tuple) else [other])]
        return pd.concat(parts, ignore_index=ignore_index, verify_integrity=verify_integrity)

    def mad(self, axis=0, skipna=True):
        return (self - self.mean(axis=axis)).abs().mean(axis=axis)

    new = {frame: {"append": append, "mad": mad}, series: {"append": append_series, "mad": mad}}
    for kind, methods in new.items():
        methods |= {"iteritems": kind.items}
        for name, method in methods.items():
            if not hasattr(kind, name):
                setattr(kind, name, method)
    if not hasattr(frame, "applymap"):
        frame.applymap = frame.map
    if not hasattr(pd.ExcelWriter, "save"):
        pd.ExcelWriter.save = lambda self: self.close()
    if "np" not in vars(pd):
        pd.np = sys.modules["numpy"]


def arguments(pd):
    """Arguments that were renamed or removed."""

    def mended(function, rename):
        def call(*args, **kwargs):
            for old, new in rename.items():
                if old in kwargs:
                    value = kwargs.pop(old)
                    if new is not None:
                        name, convert = new
                        kwargs.setdefault(name, convert(value))
            return function(*args, **kwargs)

        call.__name__, call.__doc__, call.__wrapped__ = function.__name__, function.__doc__, function
        return call

    same = lambda value: value  # noqa: E731
    bad = lambda value: "error" if value else "skip"  # noqa: E731
    frame = pd.DataFrame
    frame.to_excel = mended(frame.to_excel, {"encoding": None, "verbose": None})
    frame.to_csv = mended(frame.to_csv, {"line_terminator": ("lineterminator", same), "thousands": None})
    pd.read_csv = mended(
        pd.read_csv,
        {"error_bad_lines": ("on_bad_lines", bad), "warn_bad_lines": None, "mangle_dupe_cols": None, "squeeze": None},
    )
    pd.read_excel = mended(pd.read_excel, {"encoding": None, "squeeze": None, "mangle_dupe_cols": None})


def columns_of_groups(pd):
    """``groupby("a")["b", "c"]`` names two columns again, as it did until pandas 2.0."""
    groups = pd.core.groupby.DataFrameGroupBy
    real = groups.__getitem__
    groups.__getitem__ = lambda self, key: real(self, list(key) if isinstance(key, tuple) else key)


def lost_index(pd):
    """``index=False`` is refused where the index has a name that no column has: it holds what the rows are about."""

    def asked(function):
        def call(self, *args, **kwargs):
            names = [str(name) for name in getattr(self.index, "names", ()) if name is not None]
            lost = [name for name in names if name not in map(str, self.columns)]
            if kwargs.get("index") is False and lost:
                raise NotMeant(
                    f"{', '.join(lost)} is the index and would not be in the file: "
                    "make it a column with .reset_index() before you save"
                )
            return function(self, *args, **kwargs)

        call.__name__, call.__doc__, call.__wrapped__ = function.__name__, function.__doc__, function
        return call

    pd.DataFrame.to_csv = asked(pd.DataFrame.to_csv)
    pd.DataFrame.to_excel = asked(pd.DataFrame.to_excel)


def lost_values(pd):
    """``df["mean"] = df.groupby("a")["b"].mean()`` fills the column with nothing, as no row has a group's label.

    An error here, where pandas says nothing.
    """
    real = pd.DataFrame.__setitem__

    def setitem(self, key, value):
        if isinstance(value, pd.Series) and len(value) and len(self) and not self.index.equals(value.index):
            name = value.index.name
            if name is not None and not value.isna().all() and not self.index.isin(value.index).any():
                raise NotMeant(
                    f"this would be empty: it has one value for each {name} ({len(value)}), "
                    f"not for each of the {len(self)} rows. Make it a table of its own, "
                    f"df.groupby({str(name)!r}, as_index=False)[{str(value.name)!r}] and so on, and print that"
                )
        real(self, key, value)

    pd.DataFrame.__setitem__ = setitem


def products_of_sums(pd):
    """Columns that were summed by group and are then multiplied with each other: nobody wants that product.

    The amounts have to be multiplied row by row before they are summed; an error here says so.
    """
    mark = "allod_sums"
    groups = pd.core.groupby.DataFrameGroupBy
    series, frame = pd.Series, pd.DataFrame

    def marked(function):
        def call(self, *args, **kwargs):
            result = function(self, *args, **kwargs)
            summed = function.__name__ == "sum" or (args and is_sum(args[0])) or is_sum(kwargs.get("func"))
            if summed and isinstance(result, frame) and len(result) < len(self.obj):
                result.attrs[mark] = True
            return result

        call.__name__, call.__doc__, call.__wrapped__ = function.__name__, function.__doc__, function
        return call

    def is_sum(what):
        return what == "sum" or (isinstance(what, dict) and len(what) > 1 and all(v == "sum" for v in what.values()))

    for name in ("sum", "agg", "aggregate"):
        setattr(groups, name, marked(getattr(groups, name)))
    real = series.__mul__

    def mul(self, other):
        if isinstance(other, series) and self.attrs.get(mark) and other.attrs.get(mark):
            raise NotMeant(
                "the product of sums is not the sum of products: before the groupby write "
                f'df["amount"] = df["{self.name}"] * df["{other.name}"], then sum amount'
            )
        return real(self, other)

    series.__mul__ = mul


def lost_assignments(pd):
    """``df[df.a > 1]["b"] = 0`` changes a copy that nobody holds: an error here, where pandas 2 only warns.

    Told apart from ``part = df[df.a > 1]; part["b"] = 0``, which does what it says, by the count of references.
    """
    counted = [0]

    class Probe:
        def __setitem__(self, key, value):
            counted[0] = sys.getrefcount(self)

    Probe()[0] = 0
    nobody = counted[0]
    real = pd.DataFrame.__setitem__

    def setitem(self, key, value):
        if self._is_copy is not None and sys.getrefcount(self) <= nobody:
            raise ValueError(
                "this assignment changes a copy that is thrown away, so it has no effect; "
                "use one df.loc[rows, column] = value"
            )
        real(self, key, value)

    pd.DataFrame.__setitem__ = setitem
    pd.set_option("mode.chained_assignment", None)
