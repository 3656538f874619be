"""Names: Ollama's grammar, short forms, and nothing that could become a path of its own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.errors import BadName
from allod.models.name import Name


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("smollm2", "registry.ollama.ai/library/smollm2:latest", "smollm2:latest"),
        ("smollm2:135m", "registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
        ("me/model:7b-q4_K_M", "registry.ollama.ai/me/model:7b-q4_K_M", "me/model:7b-q4_K_M"),
        ("hf.co/user/Repo-GGUF:Q4_K_M", "hf.co/user/Repo-GGUF:Q4_K_M", "hf.co/user/Repo-GGUF:Q4_K_M"),
        ("localhost:5000/library/m:t", "localhost:5000/library/m:t", "localhost:5000/library/m:t"),
        ("https://registry.ollama.ai/library/m", "registry.ollama.ai/library/m:latest", "m:latest"),
        ("http://127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("Registry.Ollama.AI/Library/M:T", "Registry.Ollama.AI/Library/M:T", "M:T"),
        ("_x:1.5B", "registry.ollama.ai/library/_x:1.5B", "_x:1.5B"),
    ],
)
def test_parse_and_print(text: str, full: str, short: str) -> None:
    name = Name.parse(text)
    assert name.full == full
    assert str(name) == short
    assert Name.parse(full) == name
    assert Name.parse(short).key == name.key


def test_case_is_kept_but_does_not_count() -> None:
    assert Name.parse("Mistral") != Name.parse("mistral")
    assert Name.parse("Mistral:7B").key == Name.parse("mistral:7b").key


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        ":tag",
        "model:",
        "/model",
        "a//b",
        "a/b/c/d",
        "../../etc/passwd",
        "..",
        ".hidden",
        "-x",
        "a/..:b",
        "a.b/c",  # a dot in a namespace
        "m:a:b",
        "m\0",
        "m\n",
        "m n",
        "m:tag\n",
        "mödel",
        "m\ud800",
        "x" * 81,
        "m:" + "x" * 81,
        "x" * 10_000,
        "h" * 351 + "/a/b",
        "C:\\model.gguf",
        "a\\b",
        "%2e%2e",
        "m@sha256:0",
    ],
)
def test_bad_names(text: str) -> None:
    with pytest.raises(BadName) as caught:
        Name.parse(text)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    caught.value.message.encode()  # printable, whatever was in the name


@given(st.text(max_size=60))
def test_no_name_leaves_its_folder(text: str) -> None:
    try:
        name = Name.parse(text)
    except BadName:
        return
    root = Path("/store/manifests")
    path = root.joinpath(*name.path)
    assert path.resolve().is_relative_to(root)
    assert len(path.relative_to(root).parts) == 4
