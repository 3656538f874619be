"""Modelfiles: the grammar, the table of parameters, errors with their line, and printing one back."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.chat import Message
from allod.errors import BadModelfile
from allod.models.manifest import Layer, Manifest, ModelConfig
from allod.models.modelfile import PARAMETERS, parameters, parse, quote, render, typed
from allod.models.name import Name
from allod.models.store import Model

WHOLE = '''# a comment
FROM ./base.gguf
from "./with space.gguf"
ADAPTER ./lora.gguf
parameter temperature 0.25
PARAMETER num_ctx 4096
Parameter stop "<|im_end|>"
PARAMETER stop User:
PARAMETER use_mmap false
PARAMETER mirostat 2
SYSTEM """
You are "terse".
  Indented.
"""
TEMPLATE "{{ .System }}
{{ .Prompt }}"
MESSAGE user Hi there
MESSAGE assistant """Hello,
you."""
LICENSE one
   LICENSE   two
# another
REQUIRES v0.14.0
RENDERER qwen3-coder
PARSER qwen3-coder
'''


def test_everything() -> None:
    modelfile = parse(WHOLE)
    assert modelfile.from_ == "./base.gguf"
    assert modelfile.sources == ("./base.gguf", "./with space.gguf")
    assert modelfile.adapters == ("./lora.gguf",)
    assert modelfile.params == {
        "temperature": 0.25,
        "num_ctx": 4096,
        "stop": ["<|im_end|>", "User:"],
        "use_mmap": False,
    }
    assert modelfile.system == '\nYou are "terse".\n  Indented.\n'
    assert modelfile.template == "{{ .System }}\n{{ .Prompt }}"
    assert modelfile.messages == [Message("user", "Hi there"), Message("assistant", "Hello,\nyou.")]
    assert modelfile.licenses == ["one", "two"]
    assert (modelfile.requires, modelfile.renderer, modelfile.parser) == ("0.14.0", "qwen3-coder", "qwen3-coder")
    assert modelfile.warnings == ("parameter mirostat is deprecated",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_newlines(encoding: str, newline: str) -> None:
    text = 'FROM smollm2\nSYSTEM """Grüße\nan alle"""\n'.replace("\n", newline)
    modelfile = parse(text.encode(encoding))
    assert (modelfile.from_, modelfile.system) == ("smollm2", "Grüße\nan alle")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SYSTEM hello world  ", "hello world"),
        ("SYSTEM\thello", "hello"),
        ('SYSTEM "  kept  "', "  kept  "),
        ('SYSTEM """kept  \n  too"""', "kept  \n  too"),
        ('SYSTEM "say "hi" now"', 'say "hi" now'),
        ('SYSTEM """"quoted" at once"""', '"quoted" at once'),
        ('SYSTEM ""', ""),
        ('SYSTEM """"""', ""),
        ("SYSTEM # no comment", "# no comment"),
        ("SYSTEM it's \"", "it's \""),
        ('SYSTEM """FROM x\nPARAMETER y"""', "FROM x\nPARAMETER y"),
    ],
)
def test_values(line: str, value: str) -> None:
    assert parse(f"FROM m\n{line}\nPARAMETER seed 1\n").system == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no FROM line"),
        ("# FROM x\n\n", "no FROM line"),
        ("SYSTEM x", "no FROM line"),
        ("FROM x\n\nFRMO y", r"\(line 3\): command must be one of \"from\""),
        ("FROM", r"\(line 1\): the value is missing"),
        ("FROM   ", r"\(line 1\): the value is missing"),
        ("FROM x\nPARAMETER", r"\(line 2\)"),
        ("FROM x\nPARAMETER seed", r"\(line 2\): the value is missing"),
        ("FROM x\nPARAMETER num_cxt 5", r"\(line 2\): unknown parameter 'num_cxt' \(did you mean num_ctx\?\)"),
        ("FROM x\nPARAMETER nonsense 5", r"\(line 2\): unknown parameter 'nonsense'"),
        ("FROM x\nPARAMETER num_ctx " + "9" * 300, r"\(line 2\): num_ctx must be between 0 and 16777216"),
        ("FROM x\nPARAMETER num_ctx -1", "num_ctx must be between"),
        ("FROM x\nPARAMETER num_ctx 1.5", "num_ctx must be a whole number"),
        ("FROM x\nPARAMETER num_ctx ١٢", "num_ctx must be a whole number"),
        ("FROM x\nPARAMETER temperature nan", "temperature must be a number"),
        ("FROM x\nPARAMETER temperature inf", "temperature must be a number"),
        ("FROM x\nPARAMETER temperature 1e999", "temperature must be a number"),
        ("FROM x\nPARAMETER temperature hot", "temperature must be a number"),
        ("FROM x\nPARAMETER top_p 1.1", "top_p must be between 0 and 1"),
        ("FROM x\nPARAMETER use_mmap maybe", "use_mmap must be true or false"),
        ("FROM x\nMESSAGE martian hi", r"\(line 2\): message role must be one of"),
        ("FROM x\nMESSAGE user", r"\(line 2\)"),
        ('FROM x\nSYSTEM """open\nto the end', r"\(line 2\): the text that begins here has no closing \"\"\""),
        ('FROM x\nSYSTEM "', r"\(line 2\): .* no closing \""),
        ("FROM x\nREQUIRES soon", "semver"),
        ("FROM x\n" + "A" * 100_000, r"\(line 2\): command must be"),
    ],
)
def test_errors(text: str, says: str) -> None:
    with pytest.raises(BadModelfile, match=says) as caught:
        parse(text)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(BadModelfile, match=r"\(line 2\): it is not UTF-8 text"):
        parse(b"FROM x\nSYSTEM \xff\xfe")
    with pytest.raises(BadModelfile, match=r"\(line 1\): it is not text"):
        parse(b"GGUF\x03\0\0\0\n")
    with pytest.raises(BadModelfile, match="UTF-16"):
        parse(b"\xff\xfea")
    with pytest.raises(BadModelfile, match="too long"):
        parse("x" * (33 << 20))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except BadModelfile:
        pass


# ── parameters ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("num_ctx", "4096", 4096),
        ("num_ctx", 4096, 4096),
        ("num_ctx", 4096.0, 4096),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("num_gpu", "-1", -1),
        ("temperature", "1e-3", 0.001),
        ("temperature", 0, 0.0),
        ("use_mmap", "T", True),
        ("use_mmap", False, False),
        ("stop", "x", ["x"]),
        ("stop", ["x", "y"], ["x", "y"]),
    ],
)
def test_typed(name: str, value: Any, result: Any) -> None:
    found = typed(name, value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_ctx", True),
        ("num_ctx", None),
        ("num_ctx", "1_000"),
        ("num_ctx", 10**400),
        ("num_ctx", math.inf),
        ("num_ctx", []),
        ("temperature", math.nan),
        ("temperature", 10**400),
        ("temperature", "1_0"),
        ("temperature", False),
        ("temperature", {}),
        ("use_mmap", 1),
        ("stop", 5),
        ("stop", ["x", 5]),
        ("seed", 2**63),
        ("nope", 1),
    ],
)
def test_wrong_values(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        typed(name, value)
    assert len(str(caught.value)) < 200


@given(st.sampled_from(sorted(PARAMETERS)), st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()))
def test_a_parameter_is_in_range_or_refused(name: str, value: Any) -> None:
    try:
        found = typed(name, value)
    except ValueError:
        return
    kind, least, most = PARAMETERS[name]
    if kind in (int, float):
        assert least <= found <= most


# ── printing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def model(**changes: Any) -> Model:
    layer = Layer("", "", 0)
    fields: dict[str, Any] = {"digest": "", "size": 0, "modified_at": datetime.now(UTC), "config": ModelConfig()}
    return Model(name=Name.parse("mine:1b"), manifest=Manifest(layer, []), **(fields | changes))


def test_render_is_parsed_back() -> None:
    said = parse(WHOLE)
    config = ModelConfig(renderer=said.renderer, parser=said.parser, requires=said.requires)
    text = render(
        model(
            config=config,
            weights=(Path("/blobs/sha256-1"),),
            projector=Path("/blobs/sha256-2"),
            adapters=(Path("/blobs/sha256-3"),),
            template=said.template,
            system=said.system,
            params=said.params,
            messages=said.messages,
            licenses=said.licenses,
        )
    )
    assert text.startswith('# Modelfile generated by "allod show"\n')
    assert "# FROM mine:1b\n" in text
    assert 'TEMPLATE """{{ .System }}\n{{ .Prompt }}"""\n' in text
    assert "PARAMETER stop <|im_end|>\nPARAMETER stop User:\nPARAMETER temperature 0.25\n" in text
    back = parse(text)
    assert back.sources == ("/blobs/sha256-1", "/blobs/sha256-2")
    assert back.adapters == ("/blobs/sha256-3",)
    for field in ("template", "system", "params", "messages", "licenses", "renderer", "parser", "requires"):
        assert getattr(back, field) == getattr(said, field)


@given(st.text(min_size=1).filter(lambda t: "\0" not in t and "\r" not in t))
def test_texts_survive_printing(text: str) -> None:
    back = parse(f"FROM m\nSYSTEM {quote(text, always=True)}\nPARAMETER seed 1").system
    if '"""' not in text:
        assert back == text


def test_parameters_as_show_has_them() -> None:
    params = {"stop": ["a b", "c"], "num_ctx": 4096, "temperature": 0.7, "use_mmap": True}
    assert parameters(params).splitlines() == [
        "num_ctx                        4096",
        'stop                           "a b"',
        'stop                           "c"',
        "temperature                    0.7",
        "use_mmap                       true",
    ]
