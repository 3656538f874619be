"""Go templates as models of Ollama's have them, rendered by llama.cpp as Go would."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_helpers import answered, ask, small_load

from allod.chat import ChatRequest, Message, Tool, ToolCall
from allod.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.errors import Unsupported
from allod.home import Home
from allod.models.create import create
from allod.models.gotemplate import translate
from allod.models.modelfile import parse
from allod.models.store import Store

pytestmark = pytest.mark.anyio

CHATML = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
MESSAGES = """{{- if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"""
MISTRAL = """{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (eq (len (slice $.Messages $index)) 1) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and $.System (eq (len (slice $.Messages $index)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- end }}
{{- end }}
{{- end }}"""

CONVERSATION = [
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", "Two."),
    Message("user", "Three?"),
]
EACH = "[Be brief.][One?][Two.][Three?]"
WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})


@asynccontextmanager
async def templated(smollm2_path: Path, template: str) -> AsyncGenerator[LlamaRunner]:
    runner = await LlamaRunner.start(small_load(smollm2_path, template=translate(template)))
    try:
        yield runner
    finally:
        await runner.close()


async def rendered(smollm2_path: Path, template: str, request: ChatRequest) -> str:
    async with templated(smollm2_path, template) as runner:
        return await runner.apply_template(request)


async def test_an_old_one_turn_by_turn(smollm2_path: Path) -> None:
    assert await rendered(smollm2_path, CHATML, ChatRequest(CONVERSATION)) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\nTwo.<|im_end|>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_one_without_a_place_for_the_answer(smollm2_path: Path) -> None:
    text = await rendered(smollm2_path, "### {{ .System }}\nQ: {{ .Prompt }}\nA: ", ChatRequest(CONVERSATION))
    assert text == "### Be brief.\nQ: One?\nA: Two.### \nQ: Three?\nA: "


async def test_one_that_ranges_over_messages(smollm2_path: Path) -> None:
    text = await rendered(smollm2_path, MESSAGES, ChatRequest(CONVERSATION))
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\nTwo.<|im_end|>\n<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_tools_and_their_calls(smollm2_path: Path) -> None:
    turns = [
        Message("user", "Oslo?"),
        Message("assistant", "", tool_calls=[ToolCall("call_1", "weather", '{"city": "Oslo"}')]),
        Message("tool", "rain", tool_call_id="call_1", tool_name="weather"),
    ]
    text = await rendered(smollm2_path, MESSAGES, ChatRequest(turns, tools=[WEATHER]))
    assert text.startswith("<|im_start|>system\n\n# Tools\n<tools>\n")
    assert '{"type": "function", "function": {"name": "weather", "description": "The weather"' in text
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>\n' in text
    assert text.endswith("<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n<|im_start|>assistant\n")


async def test_root_fields_within_a_range(smollm2_path: Path) -> None:
    text = await rendered(smollm2_path, MISTRAL, ChatRequest(CONVERSATION))
    assert text == "[INST] One?[/INST] Two.</s>[INST] Be brief.\n\nThree?[/INST]"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{/* a note */}}{{ range .Messages }}{{ .Role }};{{ end }}", "system;user;assistant;user;"),
        ("a  {{- range .Messages -}}  b  {{- end -}}  c", "abbbbc"),
        ('{{ range .Messages }}{{ if ne .Role "user" }}{{ .Role | print 1 }}{{ end }}{{ end }}', "1system1assistant"),
        ('{{ range .Messages }}{{ if eq .Role "user" "system" }}{{ .Role }} {{ end }}{{ end }}', "system user user "),
        ('{{ range $i, $m := .Messages }}{{ if gt $i 1 }}{{ $m.Content }}{{ end }}{{ end }}', "Two.Three?"),
        ('{{ $n := 0 }}{{ range $i, $_ := .Messages }}{{ $n = $i }}{{ end }}{{ $n }}', "3"),
        ('{{ range .Messages }}{{ with .Content }}[{{ . }}]{{ else }}-{{ end }}{{ end }}', EACH),
        ('{{ (index .Messages 1).Content }} {{ len .Messages }}', "One? 4"),
        ('{{ range .Messages }}{{ printf "[%s%s" .Content "]" }}{{ end }}', EACH),
        ('{{ range .Tools }}x{{ else }}no tools{{ end }}{{ range .Messages }}{{ end }}', "no tools"),
        ('{{ range .Messages }}{{ if eq .Role "assistant" }}{{ break }}{{ end }}{{ .Role }}{{ end }}', "systemuser"),
        ('{{ range .Messages }}{{ json .Content }}{{ end }}', '"Be brief.""One?""Two.""Three?"'),
        ('{% if x %}{{ "{{" }} `{# %}`{{ range .Messages }}{{ end }}"q" \\ ü', '{% if x %}{{ `{# %}`"q" \\ ü'),
        ('{{ range .Messages }}{{ end }}{{ currentDate }}', None),
    ],
)  # fmt: skip
async def test_the_parts_of_the_language(smollm2_path: Path, template: str, expected: str | None) -> None:
    expected = datetime.now(UTC).strftime("%Y-%m-%d") if expected is None else expected
    assert await rendered(smollm2_path, template, ChatRequest(CONVERSATION)) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ if .System }}", "unexpected EOF"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ .System", "unclosed action"),
        ("{{ .Nothing }}", ".Nothing is not among"),
        ("{{ toTypeScriptType .System }}", "'toTypeScriptType'"),
        ('{{ template "x" }}', "template"),
        ('{{ printf "%q" .System }}', "printf"),
        ("{{ (.System }}", "unclosed left paren"),
        ("{{ .System .Prompt }}", "one too many"),
        ("{{ if }}x{{ end }}", "a value is missing"),
        ("{{ ! }}", "is not understood"),
        ("{{ and }}", "with 0 arguments"),
    ],
)
def test_what_is_not_translated_is_named(template: str, says: str) -> None:
    with pytest.raises(Unsupported) as error:
        translate(template)
    assert says in error.value.message


async def test_a_model_s_own_template_is_used(smollm2_path: Path, home: Home, tmp_path: Path) -> None:
    recipes = {"plain": "", "own": 'TEMPLATE """[{{ .System }}|{{ .Prompt }}]"""', "odd": "TEMPLATE {{ nothing }}"}
    for name, template in recipes.items():
        for _ in create(Store(home.models), name, parse(f"FROM {smollm2_path}\n{template}"), tmp_path):
            pass
    async with Engine(home) as engine:
        found = {}
        for name in ("plain", "own", "odd"):
            async with engine.lease(name) as runner:
                found[name] = await runner.apply_template(ChatRequest(CONVERSATION[:2]))
                assert (await answered(runner.chat(ask("Hi", max_tokens=2))))[0]
        assert found["own"] == "[Be brief.|One?]"
        assert found["odd"] == found["plain"], "what cannot be translated is logged, and the GGUF's own is used"
        assert len({running.pid for running in engine.running()}) == 2
