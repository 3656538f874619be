"""Files that other programs on this machine have already: Ollama's store, the Hugging Face cache, LM Studio's folder.

    for path in candidates(digest, size): …

A candidate is only likely to be the file: by its name, which holds the digest (Ollama, Hugging Face), or by its size
alone. Whoever takes it in checks the digest.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def candidates(digest: str, size: int, environ: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Files that may be the blob ``digest`` (``sha256:<hex>``) of ``size`` bytes, the likeliest first."""
    hexadecimal = digest.removeprefix("sha256:")
    home = Path(environ.get("HOME", "~")).expanduser()
    for folder in ollama_folders(home, environ):
        yield from fitting([folder / "blobs" / f"sha256-{hexadecimal}"], size)
    for folder in hub_folders(home, environ):
        yield from fitting(folder.glob(f"models--*/blobs/{hexadecimal}"), size)
    for folder in (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"):
        yield from fitting(folder.glob("*/*/*.gguf"), size)


def ollama_folders(home: Path, environ: Mapping[str, str]) -> list[Path]:
    """Where Ollama keeps models: its setting, the user's folder, those of its service on Linux."""
    given = [Path(environ["OLLAMA_MODELS"])] if environ.get("OLLAMA_MODELS") else []
    return [*given, home / ".ollama/models", Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/models")]


def hub_folders(home: Path, environ: Mapping[str, str]) -> list[Path]:
    """Where Hugging Face's tools keep files."""
    if given := environ.get("HF_HUB_CACHE"):
        return [Path(given)]
    base = environ.get("HF_HOME") or str(Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface")
    return [Path(base) / "hub"]


def fitting(paths: Iterator[Path] | list[Path], size: int) -> Iterator[Path]:
    """The regular, readable files of that size; folders that cannot be read have none."""
    with contextlib.suppress(OSError):
        for path in paths:
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_size == size and os.access(path, os.R_OK):
                    yield path
