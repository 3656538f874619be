"""JSON's lists of objects as DataFrames, nested objects and lists laid flat. Runs in the job's Python."""

from typing import Any, cast

from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, singular, variable

ROWS = 200_000
DEEPEST = 3  # lists within lists
NAMES = {"name", "title", "label"}  # keys that tell nothing without what they are the name of


def flatten(data: Any, finding: Finding) -> bool:
    """Adds code that makes a DataFrame of each list of objects: outermost first, inner ones with what is around them.

    Returns whether the DataFrames hold all there is.
    """
    place, path = outermost(data, finding.name)
    if not path:
        return False
    pandas = library("pandas")
    rows = cast(list[dict[str, Any]], place)
    inner: list[str] = []
    while rows and len(inner) < DEEPEST:
        if (made := frame(path, inner, rows, data, finding)) is None:
            return False
        frame_of = ran([made], pd=pandas, **{finding.name: data})
        own = made.partition(" = ")[0]
        finding.load.append(made)
        finding.lines.append(
            f"{own} is a DataFrame of it, {len(frame_of[own])} rows, columns: {columns(frame_of[own])}"
        )
        lists = [key for key in rows[0] if is_rows(rows[0][key])]
        if not lists:
            return True
        if len(lists) != 1 or not all(is_rows(row.get(lists[0])) for row in rows):
            return False
        inner.append(lists[0])
        rows = [item for row in rows for item in row[lists[0]]]
    return False


def outermost(data: Any, name: str) -> tuple[Any, str]:
    """The first list of objects, and the code that reaches it; ("", "") where there is none."""
    if is_rows(data):
        return data, name
    if isinstance(data, dict):
        for key, value in cast(dict[str, Any], data).items():
            place, path = outermost(value, f"{name}[{quoted(key)}]")
            if path:
                return place, path
    return None, ""


def is_rows(value: Any) -> bool:
    """Whether it is a list of objects."""
    return isinstance(value, list) and value != [] and all(isinstance(v, dict) for v in cast(list[Any], value)[:50])


def frame(path: str, inner: list[str], rows: list[dict[str, Any]], data: Any, finding: Finding) -> str | None:
    """The line that makes the DataFrame at ``inner`` below ``path``; None where pandas cannot."""
    key = inner[-1] if inner else path.rpartition("[")[2].strip("]\"'") if "[" in path else "rows"
    own = variable(f"{finding.path}/{key}")
    if not inner:
        return f"{own} = pd.json_normalize({path})"
    around = scalars(outer_rows(path, inner, data, finding.name))
    meta = [name if len(name) > 1 else name[0] for name in around]
    clash = {name[-1] for name in around if len(name) == 1} & set(rows[0])
    plain = {name[0] for name in around if len(name) == 1}
    outer = singular(path if len(inner) == 1 else f'"{inner[-2]}"') if "[" in path or len(inner) > 1 else "outer"
    prefix = f', meta_prefix="{outer}."' if clash or plain & NAMES else ""
    record = inner[0] if len(inner) == 1 else inner
    made = f'{own} = pd.json_normalize({path}, {record!r}, {meta!r}, errors="ignore"{prefix}).infer_objects()'.replace(
        "'", '"'
    )
    try:
        ran([made], pd=library("pandas"), **{finding.name: data})
    except Exception:  # noqa: BLE001  # irregular data: the loops below it must do
        return None
    return made


def outer_rows(path: str, inner: list[str], data: Any, name: str) -> dict[str, Any]:
    """The first object around the innermost list."""
    rows = eval(path, {name: data})
    return cast(dict[str, Any], rows[0])


def scalars(row: dict[str, Any], above: tuple[str, ...] = ()) -> list[list[str]]:
    """The paths of an object's plain values, those of objects within it too."""
    found: list[list[str]] = []
    for key, value in row.items():
        if isinstance(value, dict):
            found += scalars(cast(dict[str, Any], value), (*above, key))
        elif not isinstance(value, list):
            found.append([*above, key])
    return found
