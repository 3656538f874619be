"""A conversation as a Jupyter notebook (nbformat 4.5) that runs again, from top to bottom, in the folder of the job.

Code cells are the blocks that counted, in order; what was tried and did not do is text. allod's kernel brings in usual
names (``pd``, ``Path`` …) that code forgot to import; another kernel does not, so the first cell imports them.
"""

import ast
import base64
import json
from collections.abc import Sequence
from typing import Any, cast

from allod.interpreter.conversations.export.cells import Block, cells, fence, quoted
from allod.interpreter.conversations.turns import Turn
from allod.interpreter.events import Error
from allod.interpreter.kernels.inside import names

SHELL = ("bash", "sh", "shell", "zsh")


def notebook(title: str, turns: Sequence[Turn]) -> str:
    """The file's text."""
    made = [markdown_cell(f"# {title}")]
    ran: list[str] = []
    for turn in turns:
        made.append(markdown_cell(quoted(turn.task)))
        for cell in cells(turn):
            if not isinstance(cell, Block):
                made.append(markdown_cell(cell.text))
            elif cell.good and (source := runnable(cell)):
                ran.append(source)
                made.append(code_cell(source, outputs(cell, len(ran)), len(ran)))
            else:
                made.append(markdown_cell(f"*Tried, and not kept:*\n\n{fence(cell.code, cell.language)}"))
    if lines := imports(ran):
        made.insert(1, code_cell("\n".join(lines), [], None))
    whole: dict[str, Any] = {
        "cells": [cell | {"id": f"cell-{n}"} for n, cell in enumerate(made)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def runnable(block: Block) -> str:
    """The source of a cell that runs the block; empty for a language that a Python kernel has no word for."""
    if block.language == "python":
        return block.code
    return f"%%bash\n{block.code}" if block.language in SHELL else ""


def markdown_cell(text: str) -> dict[str, Any]:
    """Prose."""
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code_cell(source: str, results: list[dict[str, Any]], number: int | None) -> dict[str, Any]:
    """Code, and what it gave."""
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "outputs": results,
        "execution_count": number,
    }


def outputs(block: Block, number: int) -> list[dict[str, Any]]:
    """A block's outputs in Jupyter's words."""
    found: list[dict[str, Any]] = []
    for output in block.outputs:
        if isinstance(output, Error):
            trace = output.output.splitlines()
            found.append({"output_type": "error", "ename": output.name, "evalue": output.message, "traceback": trace})
        elif output.png:
            found.append(shown({"image/png": base64.b64encode(output.png).decode()}))
        elif output.kind == "result":
            result = {"text/plain": output.text.rstrip("\n")}
            found.append({"output_type": "execute_result", "data": result, "metadata": {}, "execution_count": number})
        else:
            name = "stderr" if output.kind == "stderr" else "stdout"
            found.append({"output_type": "stream", "name": name, "text": output.text})
    return found


def shown(data: dict[str, str]) -> dict[str, Any]:
    """A figure."""
    return {"output_type": "display_data", "data": data, "metadata": {}}


# ── imports that the code forgot ────────────────────────────────────────────────────────────────────────────────────


def imports(sources: Sequence[str]) -> list[str]:
    """The statements that bring in what the cells use without importing it."""
    known: dict[str, None] = {}
    lines: dict[str, None] = {}
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):  # magics
            continue
        missing = cast("dict[str, Any]", names.missing(tree, known))
        for name, node in missing.items():
            place = cast("tuple[str, str] | None", names.place(name, node))
            if place is not None:
                lines[statement(name, *place)] = None
                known[name] = None
        known |= dict.fromkeys(bound(tree))
    return sorted(lines)


def statement(name: str, module: str, attribute: str) -> str:
    """The import that gives a name."""
    if attribute:
        return f"from {module} import {attribute}" + (f" as {name}" if attribute != name else "")
    return f"import {module}" + (f" as {name}" if module != name else "")


def bound(tree: ast.AST) -> set[str]:
    """Names that a cell gives a meaning."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return found
