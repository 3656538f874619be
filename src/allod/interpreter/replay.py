"""Brings back the variables of a conversation whose session has ended, without doing its work again.

Of the blocks that ran, the statements that make names are kept: imports, definitions, assignments and loops. Those that
write, move or delete files, print, show or ask are left out, and so is what cannot be parsed. What is kept is run in
order, each statement by itself, and one that fails is passed over: it can only cost a variable.
"""

import ast
import textwrap
from collections.abc import Sequence

# Functions and methods with an effect outside the session.
EFFECTS = frozenset([
    "to_csv", "to_excel", "to_json", "to_parquet", "to_html", "to_sql", "to_markdown", "to_pickle", "to_feather",
    "savefig", "save", "write", "writelines", "write_text", "write_bytes", "writerow", "writerows", "writestr",
    "dump", "rename", "renames", "move", "remove", "unlink", "rmdir", "rmtree", "removedirs", "mkdir", "makedirs",
    "copy2", "copyfile", "copytree", "copyfileobj", "symlink", "link", "chmod", "chown", "touch", "extract",
    "extractall", "make_archive", "unpack_archive", "system", "popen", "Popen", "run", "call", "check_call",
    "check_output", "commit", "execute", "executemany", "executescript", "print", "display", "show", "input", "sleep",
    "exit", "quit",
])  # fmt: skip
NAMED = frozenset({"os.replace", "shutil.copy", "os.truncate"})
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def remembered(blocks: Sequence[str]) -> list[str]:
    """The statements that make the variables of these blocks again, each as code of its own."""
    kept: list[str] = []
    for block in blocks:
        try:
            tree = ast.parse(block)
        except (SyntaxError, ValueError, RecursionError):
            continue
        kept += [ast.unparse(statement) for statement in tree.body if is_kept(statement)]
    return kept


def is_kept(statement: ast.stmt) -> bool:
    """Whether a statement only makes or changes variables."""
    return isinstance(statement, KEPT) or not any(has_effect(node) for node in ast.walk(statement))


def has_effect(node: ast.AST) -> bool:
    """Whether a node is a call that reaches outside the session, or opens a file to write."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    if name in NAMED or name.rpartition(".")[2] in EFFECTS:
        return True
    if name.rpartition(".")[2] in ("open", "ZipFile", "ExcelWriter"):
        given = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
        modes = [arg.value for arg in given if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        return name.endswith("ExcelWriter") or any(set(mode) & set("wax+") for mode in modes)
    return False


def block(statements: list[str]) -> str:
    """One hidden block that runs them. A plain cell, so that the kernel's own help with names is given to it too."""
    return "\n".join(f"try:\n{indented(code)}\nexcept Exception:\n    pass" for code in statements)


def indented(code: str) -> str:
    """Statements as the body of another. They were unparsed, so no string goes over several lines but a docstring."""
    return textwrap.indent(code, "    ")
