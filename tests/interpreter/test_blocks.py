"""The block parser: every probe whole, in its chunks, and one character at a time; the same pieces each time."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allod.interpreter.blocks import Block, BlockParser, Closed, Cut, Opened, Piece, Text, Thought, Written


def parse(chunks: list[str]) -> list[Piece]:
    """All pieces, neighbouring ones of a kind joined."""
    parser = BlockParser()
    found: list[Piece] = []
    for piece in [p for chunk in chunks for p in parser.feed(chunk)] + list(parser.finish()):
        last = found[-1] if found else None
        if isinstance(piece, (Text, Thought, Written)) and type(last) is type(piece):
            found[-1] = type(piece)(last.text + piece.text)  # type: ignore[union-attr]
        elif not isinstance(piece, (Text, Thought, Written)) or piece.text:
            found.append(piece)
    return found


def every_way(chunks: list[str]) -> list[Piece]:
    whole = "".join(chunks)
    found = parse([whole])
    assert parse(chunks) == found
    assert parse(list(whole)) == found
    assert parse([c for char in whole for c in (char, "")]) == found
    return found


def blocks(found: list[Piece]) -> list[tuple[str, str]]:
    return [(p.block.language, p.block.code) for p in found if isinstance(p, Closed)]


def text(found: list[Piece]) -> str:
    return "".join(p.text for p in found if isinstance(p, Text))


FENCE_IN_STRING = 'text = """\n```md\n# Title\n```\n"""\nopen("R.md", "w").write(text)'

PROBES: dict[str, tuple[list[str], str, list[tuple[str, str]]]] = {
    "token stream": (
        ["Sure", ".\n", "```", "python", "\n", "print", "(1)", "\n", "```"],
        "Sure.\n",
        [("python", "print(1)")],
    ),
    "inline code": (["Use ", "`", "ls", "`", " to list"], "Use `ls` to list", []),
    "two blocks": (
        ["```python\na = 1\n```\nand\n```python\nb = 2\n```\n"],
        "and\n",
        [("python", "a = 1"), ("python", "b = 2")],
    ),
    "R": (["```r\n", "print(", '"hello ', 'world")', "\n```"], "", [("r", 'print("hello world")')]),
    "language word in code": (
        ["```python\n", "subprocess.run(['", "python", "', '-V'])\n", "```"],
        "",
        [("python", "subprocess.run(['python', '-V'])")],
    ),
    "coarse chunks": (["```python\n", "x=1\n", "print(x)\n```"], "", [("python", "x=1\nprint(x)")]),
    "fence in string": (["```python\n", FENCE_IN_STRING, "\n```\nDone."], "Done.", [("python", FENCE_IN_STRING)]),
    "no language": (["```\nls -la\n```"], "", [("", "ls -la")]),
    "tool JSON": (
        ['{"name":"execute","arguments":', '{"language":"python","code":"print(1)\\nprint(2)"}}'],
        "",
        [("python", "print(1)\nprint(2)")],
    ),
    "tool tag": (
        ["Now.\n<tool", '_call>\n{"name": "execute", "arguments": {"code": "print(\'`\')"}}\n</tool_call>'],
        "Now.\n",
        [("python", "print('`')")],
    ),
    "tool tag, arguments as text": (
        ['<tool_call>{"name":"python","arguments":"{\\"code\\": \\"x = 1\\"}"}</tool_call>'],
        "",
        [("python", "x = 1")],
    ),
    "functions.execute": (
        ["functions.", 'execute({"language": "python", "code": "print(3)"})', "executeexecute"],
        "executeexecute",
        [("python", "print(3)")],
    ),
    "functions.execute in a fence": (
        ['```python\nfunctions.execute({"language":"python","code":"print(3)"})\n```'],
        "",
        [("python", "print(3)")],
    ),
    "executeexecute": (["```python\n10+12executeexecute\n```"], "", [("python", "10+12")]),
    "call in a json fence": (
        ['```json\n{"name": "execute", "arguments": {"code": "print(4)"}}\n```'],
        "",
        [("python", "print(4)")],
    ),
    "call with unquoted keys": (['{language: "python", code: "print(5)"}'], "", [("python", "print(5)")]),
    "a JSON answer is no call": (
        ['{"name": "Ann", "arguments": "none"}\nand {"code": 1}'],
        '{"name": "Ann", "arguments": "none"}\nand {"code": 1}',
        [],
    ),
    "JSON data in a fence": (['```json\n{"code": "x", "n": 1}\n```'], "", [("json", '{"code": "x", "n": 1}')]),
    "a tool for the shell": (
        ['{"name": "bash", "arguments": {"command": "ls -la"}}'],
        "",
        [("bash", "ls -la")],
    ),
    "an API's tool call": (
        ['{"type": "function", "function": {"name": "execute", "arguments": "{\\"code\\": \\"x = 1\\"}"}}'],
        "",
        [("python", "x = 1")],
    ),
    "a call as Python writes it": (["{'name': 'execute', 'arguments': {'code': 'x'}}"], "", [("python", "x")]),
    "a tool of another name": (
        ['{"name": "get_weather", "arguments": {"code": "x"}}'],
        '{"name": "get_weather", "arguments": {"code": "x"}}',
        [],
    ),
    "JSON with a type": (['{"type": "cat", "code": "x"}'], '{"type": "cat", "code": "x"}', []),
    "fence in a here-document": (
        ["```bash\ncat <<'END' > a.md\n```\nx\n```\nEND\nls\n```\nDone."],
        "Done.",
        [("bash", "cat <<'END' > a.md\n```\nx\n```\nEND\nls")],
    ),
    "two here-documents": (
        ["```sh\ncat <<A <<-B\n```\nA\n```\n\tB\n```\n"],
        "",
        [("sh", "cat <<A <<-B\n```\nA\n```\n\tB")],
    ),
    "a here-document without an end": (
        ["```bash\ncat <<END\nno end\n```\nDone."],
        "Done.",
        [("bash", "cat <<END\nno end")],
    ),
    "no here-document": (
        ["```bash\necho $((1<<n)); cat <<<word # <<END\n```\nDone."],
        "Done.",
        [("bash", "echo $((1<<n)); cat <<<word # <<END")],
    ),
    "functions.execute with keyword arguments": (
        ["Now:\nfunctions.exec", 'ute(language="python", code="print(\')\')\\nx = 1")', "\nDone."],
        "Now:\n\nDone.",
        [("python", "print(')')\nx = 1")],
    ),
    "keyword arguments over lines": (
        ['functions.execute(\n  code = """a = "(1)"\nb = \'\'""",\n  language=\'python\',\n)'],
        "",
        [("python", "a = \"(1)\"\nb = ''")],
    ),
    "a one-line string of two lines": (
        ['functions.execute(language="python", code="for i in x:\n    print(\'é\', i)\n")'],
        "",
        [("python", "for i in x:\n    print('é', i)\n")],
    ),
    "a raw string": (["functions.run_python(code=r'a\\nb')"], "", [("python", "a\\nb")]),
    "keyword arguments in a fence": (
        ['```python\nfunctions.execute(language="bash", code="ls -l")\n```'],
        "",
        [("bash", "ls -l")],
    ),
    "a function for the shell": (["functions.bash(command='ls') and {}"], " and {}", [("bash", "ls")]),
    "an object on its own lines": (['functions.execute(\n{"code": "x"}\n)\nDone'], "\nDone", [("python", "x")]),
    "a function of another name": (
        ["functions.find(code='x') and functions.f(y), functions"],
        "functions.find(code='x') and functions.f(y), functions",
        [],
    ),
    "keyword arguments that are no call": (
        ["functions.execute(code=read('x'), n=1)\nfunctions.execute(code='x' 'y' z)\n"],
        "functions.execute(code=read('x'), n=1)\nfunctions.execute(code='x' 'y' z)\n",
        [],
    ),
    "function tag": (
        ["Now.\n<function", '_call> {"name": "execute", "arguments": {"code": "x"}}</function_call>.'],
        "Now.\n.",
        [("python", "x")],
    ),
    "function tag around something else": (
        ["<function_call>get()</function_call> <function>"],
        "<function_call>get()</function_call> <function>",
        [],
    ),
    "Mistral, a list": (
        ["I look. [TOOL_", 'CALLS][{"name": "execute", "arguments": {"language": "python", "code": "x[\\"]\\"]"}}]'],
        "I look. ",
        [("python", 'x["]"]')],
    ),
    "Mistral, two calls": (
        ['[TOOL_CALLS] [{"name":"bash","arguments":{"command":"ls"}},{"name":"python","arguments":{"code":"x"}}]</s>'],
        "</s>",
        [("bash", "ls"), ("python", "x")],
    ),
    "Mistral, a name before the arguments": (
        ['[TOOL_CALLS]execute[ARGS]{"language": "shell", "code": "ls ]"}[TOOL_CALLS]execute[ARGS]{"code": "x"}'],
        "",
        [("shell", "ls ]"), ("python", "x")],
    ),
    "Mistral, with an id": (['[TOOL_CALLS]python[CALL_ID]a1B[ARGS] {"code": "x"}'], "", [("python", "x")]),
    "Mistral, another tool": (
        ['[TOOL_CALLS][{"name": "get", "arguments": {}}, {"name": "run", "arguments": {"code": "x"}}] [TOOL_CALLS] -'],
        '[TOOL_CALLS][{"name": "get", "arguments": {}}, {"name": "run", "arguments": {"code": "x"}}] [TOOL_CALLS] -',
        [],
    ),
    "brackets in prose": (["see [1], [TOOL] and [x](y)"], "see [1], [TOOL] and [x](y)", []),
    "fence in a template literal": (
        ["```js\nconst md = `# Title\n```js\nx\n```\n${f({a: `}`})}\n`;\nsave(md)\n```\nDone."],
        "Done.",
        [("js", "const md = `# Title\n```js\nx\n```\n${f({a: `}`})}\n`;\nsave(md)")],
    ),
    "escaped fence in a template literal": (
        ["```javascript\nconst md = `\\`\\`\\`\nx\n\\`\\`\\``\n```\nDone."],
        "Done.",
        [("javascript", "const md = `\\`\\`\\`\nx\n\\`\\`\\``")],
    ),
    "tilde fence in a template literal": (["~~~ts\nx = `\n~~~\n`\n~~~\n"], "", [("ts", "x = `\n~~~\n`")]),
    "fence in a comment of JavaScript": (
        ["```js\n/*\n```\n*/ x // `\ny = a / b; z = c / `d`\n```\nDone."],
        "Done.",
        [("js", "/*\n```\n*/ x // `\ny = a / b; z = c / `d`")],
    ),
    "no template literal": (
        ["```js\nx = '`' + \"`\" // `\ny = s.replace(/[`/]/g, '') && /`/.test(s)\n/`/.exec(s)\n```\nUse `it`."],
        "Use `it`.",
        [("js", "x = '`' + \"`\" // `\ny = s.replace(/[`/]/g, '') && /`/.test(s)\n/`/.exec(s)")],
    ),
    "a template literal without an end": (["```js\nx = `no end\n```\nDone."], "Done.", [("js", "x = `no end")]),
    "fence in a string, no language": (["```\n" + FENCE_IN_STRING + "\n```\nOk"], "Ok", [("", FENCE_IN_STRING)]),
    "a string without an end, no language": (["```\necho '''\n```\nOk"], "Ok", [("", "echo '''")]),
    "tilde fence": (["~~~python\nprint(1)\n~~~"], "", [("python", "print(1)")]),
    "tildes in prose": (["about ~~5~~ or ~10\n~ 3\n~~x"], "about ~~5~~ or ~10\n~ 3\n~~x", []),
    "c++": (["```c++\nint x;\n```"], "", [("c++", "int x;")]),
    "longer fence": (["````python\nx = '''\n```\n'''\n````\n"], "", [("python", "x = '''\n```\n'''")]),
    "longer fence, shorter inside": (["````md\n```\nx\n```\n````\n"], "", [("md", "```\nx\n```")]),
    "indented fence": (
        ["1. Do\n   ```python\n   if 1:\n       x = 1\n   ```\n2."],
        "1. Do\n   2.",
        [("python", "if 1:\n    x = 1")],
    ),
    "fence after prose": (["Sure: ```python\nx = 1\n```"], "Sure: ", [("python", "x = 1")]),
    "three backticks as inline code": (["Use ```x = 1``` here\n"], "Use ```x = 1``` here\n", []),
    "fence after the last line": (["```python\nprint(1)```\nDone"], "Done", [("python", "print(1)")]),
    "fence in a comment": (["```python\nx = 1 # ```\ny = 2\n```"], "", [("python", "x = 1 # ```\ny = 2")]),
    "attributes": (["```{.python title=x}\n1\n```\n```Python3 a b\n2\n```"], "", [("python", "1"), ("python3", "2")]),
    "blank lines and trailing blanks": (["```py\n\n\na  \n\n```"], "", [("py", "\n\na  \n")]),
    "carriage returns": (["```python\r\nx = 1\r\n```\r\n"], "", [("python", "x = 1\r")]),
    "empty block": (["```python\n```\n"], "", [("python", "")]),
    "think": (["<think>\n```python\nboom()\n```\n</think>\nHi"], "\nHi", []),
    "think, then code": (["<think>x</think>```python\nok()\n```"], "", [("python", "ok()")]),
    "think in code": (['```python\nx = "<think>"\n```\nok'], "ok", [("python", 'x = "<think>"')]),
    "think as inline code": (["The `<think>` tag\n```python\nok()\n```"], "The `<think>` tag\n", [("python", "ok()")]),
    "less than": (["if a <b or a <t then"], "if a <b or a <t then", []),
}


@pytest.mark.parametrize("name", PROBES)
def test_probe(name: str) -> None:
    chunks, prose, code = PROBES[name]
    found = every_way(chunks)
    assert blocks(found) == code
    assert text(found) == prose
    assert not any(isinstance(p, Cut) for p in found)


@pytest.mark.parametrize(
    "chunks",
    [
        ["```python\npri"],
        ["Sure\n```python"],
        ["```python\nx = 1\n``"],
        ["~~~python\nx = 1\n```\n"],
        ['```python\nx = """\n```\n'],
        ["````python\nx\n```"],
        ['<tool_call>{"name": "execute", "argu'],
        ['<tool_call>{"name": "execute", "arguments": {"code": "rm()"}}'],
        ['{"name": "execute", "arguments": {"code": "rm('],
        ['functions.execute({"code": "rm()"'],
        ['functions.execute(language="python", code="rm()'],
        ['functions.execute(language="python", code="""rm()"'],
        ['functions.execute(code="rm()"'],
        ['<function_call>{"name": "execute", "arguments": {"code": "rm()"}}'],
        ['[TOOL_CALLS][{"name": "execute", "arguments": {"code": "rm()"}}'],
        ['[TOOL_CALLS]execute[ARGS]{"code": "rm()"'],
    ],
)
def test_unclosed_code_is_never_run(chunks: list[str]) -> None:
    found = every_way(chunks)
    assert blocks(found) == []
    assert isinstance(found[-1], Cut)
    assert not found[-1].block.closed


@pytest.mark.parametrize("start", ["<function_call>{", "functions.execute(code=", "[TOOL_CALLS]exe", "[TOOL_CALLS][{"])
def test_a_call_that_is_not_whole_is_open(start: str) -> None:
    parser = BlockParser()
    assert list(parser.feed("Now.\n" + start)) == [Text("Now.\n")]
    assert parser.inside


def test_unclosed_think_is_never_run() -> None:
    found = every_way(["<think>\n```python\nboom()\n```\n"])
    assert all(isinstance(p, Thought) for p in found)


def test_pieces_come_as_early_as_they_are_certain() -> None:
    parser = BlockParser()
    assert list(parser.feed("Hello wor")) == [Text("Hello wor")]
    assert list(parser.feed("ld.\n``")) == [Text("ld.\n")]
    assert list(parser.feed("`python")) == []
    assert list(parser.feed("\nx = 1\ny =")) == [Opened("python"), Written("x = 1\n")]
    assert list(parser.feed(" 2\n```")) == [Written("y = 2\n")]
    assert list(parser.feed("\n")) == [Closed(Block("python", "x = 1\ny = 2"))]


def test_what_was_written_is_the_code() -> None:
    found = every_way(["a\n```python\n" + FENCE_IN_STRING + "\n```\nb"])
    assert found == [
        Text("a\n"),
        Opened("python"),
        Written(FENCE_IN_STRING + "\n"),
        Closed(Block("python", FENCE_IN_STRING)),
        Text("b"),
    ]


# ── any text, cut anywhere ──────────────────────────────────────────────────────────────────────────────────────────

BITS = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "`",
        "\n",
        " ",
        "python",
        "x = 1",
        '"""',
        "'''",
        "'",
        '"',
        "#",
        "\\",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "{",
        "}",
        '{"name":"execute","arguments":{"code":"y"}}',
        "functions.execute(",
        "functions.execute(code=",
        "code='x'",
        "language=",
        ",",
        "<function_call>",
        "</function_call>",
        "[TOOL_CALLS]",
        "[CALL_ID]",
        "[ARGS]",
        "[",
        "]",
        "execute",
        '{"code": "v"}',
        "js",
        "${",
        "/*",
        "*/",
        "//",
        "/",
        ")",
        "functions.",
        "<",
        "~",
        "json",
        "md",
        "bash",
        "<<E",
        "E\n",
        "{'name': 'execute', 'arguments': {'code': 'z'}}",
        "é",
        "code:",
        '"code"',
        ":",
        "\r\n",
        "a",
    ]
)


@given(st.lists(BITS, max_size=30).map("".join), st.data())
@settings(max_examples=600, deadline=None)
def test_any_chunking_gives_the_same(whole: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    expected = parse([whole])
    assert parse(chunks) == expected
    assert parse(list(whole)) == expected


def called(form: str, code: str) -> str:
    arguments = json.dumps({"code": code})
    return form.replace("LITERAL", repr(code)).replace("ARGUMENTS", arguments)


CALLS = st.sampled_from(
    [
        "functions.execute(language='python', code=LITERAL)",
        "functions.execute(ARGUMENTS)",
        '<function_call>{"name": "execute", "arguments": ARGUMENTS}</function_call>',
        '[TOOL_CALLS][{"name": "execute", "arguments": ARGUMENTS}]',
        "[TOOL_CALLS]execute[ARGS]ARGUMENTS",
    ]
)


@given(CALLS, st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(1, 9))
@settings(deadline=None)
def test_code_in_a_call_is_byte_exact(form: str, code: str, step: int) -> None:
    whole = f"Text.\n{called(form, code)}\nMore."
    found = parse([whole[i : i + step] for i in range(0, len(whole), step)])
    assert found == [Text("Text.\n"), Closed(Block("python", code)), Text("\nMore.")]


CODE_LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="`"), max_size=20), max_size=8
)


@given(CODE_LINES, st.integers(3, 6), st.sampled_from("`~"), st.integers(1, 7))
@settings(deadline=None)
def test_code_is_byte_exact(lines: list[str], length: int, mark: str, step: int) -> None:
    code = "\n".join(lines)
    if mark == "~":
        code = code.replace("~", "-")
    fence = mark * length
    whole = f"Text.\n{fence}ruby\n{code}\n{fence}\n"
    found = parse([whole[i : i + step] for i in range(0, len(whole), step)])
    assert blocks(found) == [("ruby", code)]
