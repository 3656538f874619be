"""Python packages that code installs for itself: into a virtual environment in the job's own home, gone with the job.

The environment is made by hand in the job's layer before any of its code runs. It stands on the Python that allod runs
with and sees all of its packages; ``pip`` counts these as installed, leaves them alone, and puts what is new or another
version into the environment, which comes first. So ``%pip``, ``!pip`` and ``python -m pip`` do what people expect.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from allod.errors import BadSettings, Unsupported
from allod.home import Home
from allod.interpreter.sandbox.bubblewrap import INSIDE_HOME

NAME = ".packages"
INSIDE = f"{INSIDE_HOME}/{NAME}"
PYTHON = f"{INSIDE}/bin/python"
WHEELS = Path("/usr/share/python-wheels")  # Debian's place for the wheels that ensurepip brings
# The index's files lie on another host than its pages.
FILES = {"pypi.org": "files.pythonhosted.org"}

Hosts = tuple[str, ...]


def prepare(home: Path) -> None:
    """Makes the environment in a job's new home. Must be done before its code runs, which might put links there.

    Raises:
        Unsupported: allod's own Python has no pip.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = home / NAME
    site = place / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "_allod.pth").write_text(parents(pip_wheel()))
    base = str(getattr(sys, "_base_executable", sys.executable))
    (place / "pyvenv.cfg").write_text(f"home = {Path(base).parent}\ninclude-system-site-packages = false\n")
    (place / "bin").mkdir()
    for name in ("python", "python3", version):
        (place / "bin" / name).symlink_to(base)
    for name in ("pip", "pip3"):
        script = place / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {PYTHON} -m pip "$@"\n')
        script.chmod(0o755)


def prepared(home: Path) -> bool:
    """Whether that was done in a job's home."""
    return (home / NAME / "pyvenv.cfg").is_file()


def parents(wheel: str) -> str:
    """The line that shows the packages of allod's own Python; ``wheel`` is pip's where it is not among them."""
    folders = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    extra = f"; sys.path.append({wheel!r})" if wheel else ""
    return f"import site, sys; list(map(site.addsitedir, {folders!r})){extra}\n"


def pip_wheel() -> str:
    """The wheel of pip that came with Python, where pip is not installed; empty where it is. Raises Unsupported."""
    if importlib.util.find_spec("pip") is not None:
        return ""
    folders = [WHEELS]
    if (spec := importlib.util.find_spec("ensurepip")) is not None and spec.origin:
        folders.insert(0, Path(spec.origin).parent / "_bundled")
    for folder in folders:
        if found := sorted(folder.glob("pip-*.whl")):
            return str(found[-1])
    raise Unsupported(
        "no packages can be installed: the Python that allod runs with has no pip",
        f"Install it: {sys.executable} -m ensurepip, or the package python3-pip.",
    )


def index(home: Home) -> str:
    """The package index that jobs use: the one that allod itself does.

    Raises:
        BadSettings: it is none, or it needs a password, which is not given to code.
    """
    from allod.models.sources.package_index import index_url

    url = index_url(home.settings, os.environ)
    if urlsplit(url).username is not None:
        raise BadSettings(
            "the package index needs a password, which is not given to the code of a job",
            "Set package_index in config.toml to an index without one, or leave --packages out.",
        )
    return url


def index_hosts(home: Home) -> Hosts:
    """The hosts that packages come from. They are the person's own choice, so they may be at any address: a mirror in a
    company's network often goes by the public name."""
    parts = urlsplit(index(home))
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    place = f"{named}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    return (place, f"{FILES[host]}:443") if host in FILES else (place,)


def environment(home: Home, env: Mapping[str, str]) -> dict[str, str]:
    """What tells pip where to look and programs which Python is theirs."""
    url = index(home)
    parts = urlsplit(url)
    trusted = {"PIP_TRUSTED_HOST": parts.netloc} if parts.scheme == "http" else {}
    return trusted | {
        "PATH": f"{INSIDE}/bin:{env.get('PATH', '/usr/bin:/bin')}",
        "VIRTUAL_ENV": INSIDE,
        "PIP_INDEX_URL": url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_RETRIES": "2",  # a host that is refused stays so
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_DEFAULT_INDEX": url,
        "ALLOD_PACKAGES": "1",
    }
