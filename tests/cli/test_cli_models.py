"""list, show, cp, rm, create: the store by its words."""

import json
import time
from pathlib import Path

import pytest
from command_line import Allod, Run

from allod.home import Home
from allod.models.store import Store

MODELFILE = """
FROM smollm2
SYSTEM Answer in one word.
PARAMETER temperature 0.1
PARAMETER stop "END"
LICENSE Apache License 2.0
"""


@pytest.mark.usefixtures("smollm2_home")
def test_list(run: Run):
    code, out, err = run("list")
    head, row = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    name, digest, number, unit, *_ = row.split()
    assert (name, len(digest), number, unit) == ("smollm2:135m", 12, "98", "MB")
    assert run("ls")[1] == out
    assert run("list", "SMOL")[1] == out
    assert run("list", "qwen")[1].split() == head.split()


@pytest.mark.usefixtures("smollm2_home")
def test_list_as_json(run: Run):
    (model,) = json.loads(run("list", "--json")[1])
    assert (model["name"], model["family"], model["quantization"]) == ("smollm2:135m", "llama", "Q4_1")
    assert len(model["digest"]) == 64 and model["size"] > 98_000_000 and "T" in model["modified_at"]


@pytest.mark.usefixtures("home")
def test_list_of_nothing(run: Run):
    assert run("list") == (0, "NAME    ID    SIZE    MODIFIED\n", "")
    assert run("list", "--json") == (0, "[]\n", "")


def test_what_cannot_be_read_is_said_and_the_rest_listed(run: Run, smollm2_home: Home):
    broken = smollm2_home.models / "manifests/registry.ollama.ai/library/broken"
    broken.mkdir(parents=True)
    (broken / "latest").write_text('{"schemaVersion": 2, "layers"')
    code, out, err = run("list")
    assert code == 0 and "smollm2:135m" in out and "broken" not in out
    assert "broken:latest" in err and "Traceback" not in err
    assert run("rm", "broken")[0] == 0


@pytest.mark.usefixtures("smollm2_home")
def test_show(run: Run):
    code, out, _ = run("show", "smollm2")  # the catalogue's default tag
    assert code == 0
    rows = [" ".join(row.split()) for row in out.splitlines()]
    for row in ("architecture llama", "parameters 134.52M", "context length 8192", "quantization Q4_1", "completion"):
        assert row in rows


@pytest.mark.usefixtures("smollm2_home")
def test_show_one_part(run: Run, tmp_path: Path):
    file = tmp_path / "Modelfile"
    file.write_text(MODELFILE)
    assert run("create", "terse", "-f", str(file))[0] == 0
    assert run("show", "terse", "--system")[1] == "Answer in one word.\n"
    assert run("show", "terse", "--license")[1] == "Apache License 2.0\n"
    assert run("show", "terse", "--parameters")[1].split() == ["stop", '"END"', "temperature", "0.1"]
    assert "<|im_start|>" in run("show", "terse", "--template")[1]
    assert "PARAMETER temperature 0.1" in run("show", "terse", "--modelfile")[1]
    overview = run("show", "terse")[1]
    assert "Answer in one word." in overview and "Apache License 2.0" in overview
    code, out, err = run("show", "terse", "--system", "--license")
    assert (code, out) == (2, "") and "do not go together" in err


@pytest.mark.usefixtures("smollm2_home")
def test_show_as_json(run: Run):
    model = json.loads(run("show", "smollm2:135m", "--json")[1])
    assert model["details"]["parameter_size"] == "134.52M"
    assert model["model_info"]["llama.block_count"] == 30
    assert model["capabilities"] == ["completion"]
    assert "tensors" not in model and model["model_info"]["tokenizer.ggml.tokens"] is None
    model = json.loads(run("show", "smollm2:135m", "--json", "--verbose")[1])
    assert len(model["tensors"]) == 272 and len(model["model_info"]["tokenizer.ggml.tokens"]) == 49152


def test_cp_and_rm(run: Run, smollm2_home: Home):
    assert run("cp", "smollm2:135m", "mine/other:v1") == (0, "copied 'smollm2:135m' to 'mine/other:v1'\n", "")
    code, out, err = run("rm", "mine/other:v1", "nobody", "smollm2")
    assert code == 1
    assert out.splitlines() == ["deleted 'mine/other:v1'", "deleted 'smollm2:135m'"]
    assert "model 'nobody' not found" in err
    assert Store(smollm2_home.models).list() == []


@pytest.mark.usefixtures("smollm2_home")
def test_nearest_names_are_offered(run: Run):
    code, _, err = run("show", "smolm2:135m")
    assert code == 1 and "smollm2:135m" in err.splitlines()[1]


@pytest.mark.usefixtures("smollm2_home")
def test_prune_frees_what_no_model_uses(run: Run, home: Home):
    assert run("prune")[:2] == (0, "there is nothing to remove\n")
    Store(home.models).add_bytes(b"x" * 5000, "text/plain")
    old = max((home.models / "blobs").iterdir(), key=lambda path: path.stat().st_ctime)
    assert run("prune")[1] == "there is nothing to remove\n" and old.exists()  # too young
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("time.time", lambda: now + 2 * 86400)
        assert run("prune")[:2] == (0, "freed 5 KB\n")
    assert not old.exists() and Store(home.models).get("smollm2:135m").weights[0].exists()


# ── create ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_create_from_a_file(allod: Allod, home: Home, smollm2_path: Path):
    done = allod("create", "tiny", "--from", str(smollm2_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "success"
    assert Store(home.models).get("tiny").size > 98_000_000


@pytest.mark.usefixtures("smollm2_home")
def test_create_from_stdin_with_json_progress(allod: Allod):
    done = allod("create", "terse", "-f", "-", "--json", input=MODELFILE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"status": "success"}


@pytest.mark.usefixtures("smollm2_home")
def test_a_modelfile_beside_its_weights(run: Run, tmp_path: Path, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "w.gguf").symlink_to(smollm2_path)
    (tmp_path / "Modelfile").write_text("FROM ./w.gguf\n")
    assert run("create", "a", "-f", str(tmp_path / "Modelfile"))[0] == 0
    monkeypatch.chdir(tmp_path)
    assert run("create", "b")[0] == 0  # ./Modelfile


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no FROM line"),
        (b"\x00\xff\xfe\x80", "not"),
        (b"FROM nobody-has-it\n", "offline mode"),
        (b"FROM ./missing.gguf\n", "no such file"),
        (b"FROM x\nPARAMETER num_ctx " + b"9" * 300, "num_ctx"),
        (b"FROM x\nPARAMETER nonsense 1", "unknown parameter"),
        (b"FRM x\n", "command must be one of"),
    ],
)
def test_bad_modelfiles(run: Run, tmp_path: Path, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    file = tmp_path / "Modelfile"
    file.write_bytes(content)
    code, _, err = run("create", "x", "-f", str(file))
    last = err[err.index("Error:") :].splitlines()
    assert code in (1, 2) and said in last[0] and len(last) == 2


@pytest.mark.usefixtures("home")
def test_files_that_are_no_modelfiles(run: Run, tmp_path: Path, smollm2_path: Path):
    assert "there is no file" in run("create", "x", "-f", str(tmp_path / "none"))[2]
    assert "cannot read" in run("create", "x", "-f", str(tmp_path))[2]
    assert f"--from {smollm2_path}" in run("create", "x", "-f", str(smollm2_path))[2]
    (tmp_path / "half.gguf").write_bytes(smollm2_path.open("rb").read(1 << 20))
    code, _, err = run("create", "x", "--from", str(tmp_path / "half.gguf"))
    assert code == 1 and "cut short" in err
    assert "do not go together" in run("create", "x", "-f", "a", "--from", "b")[2]


def test_models_are_not_created_on_another_machine(run: Run, monkeypatch: pytest.MonkeyPatch, home: Home):
    monkeypatch.setenv("ALLOD_HOST", "box.lan:11435")
    code, _, err = run("create", "x", "--from", "y.gguf")
    assert code == 1 and "another machine" in err
