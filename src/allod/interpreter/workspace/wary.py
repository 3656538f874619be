"""Files that will be run by something, later and outside of the sandbox: what a person should look at before applying.

Told by name and mode alone, from a list that knows the usual ones. What git itself would run is not applied at all
(``overlay.refusal``).
"""

from fnmatch import fnmatchcase

from allod.interpreter.workspace.overlay import Difference

SHELLS = (
    ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv",
    ".zprofile", ".zlogin", ".kshrc", ".cshrc", ".tcshrc", ".login", ".xprofile", ".xinitrc", ".xsession",
)  # fmt: skip
# Last parts of a path (or whole ends of it) → by what it will be run or read.
NAMES = {
    **dict.fromkeys(SHELLS, "your shell runs it"),
    "config.fish": "your shell runs it",
    "Microsoft.PowerShell_profile.ps1": "your shell runs it",
    ".env": "programs take their settings from it",
    ".env.*": "programs take their settings from it",
    ".envrc": "direnv runs it",
    ".github/workflows/*": "CI runs it",
    ".github/actions/*": "CI runs it",
    ".gitlab-ci.yml": "CI runs it",
    ".circleci/config.yml": "CI runs it",
    ".travis.yml": "CI runs it",
    ".woodpecker.yml": "CI runs it",
    ".drone.yml": "CI runs it",
    "azure-pipelines.yml": "CI runs it",
    "bitbucket-pipelines.yml": "CI runs it",
    "appveyor.yml": "CI runs it",
    "Jenkinsfile": "CI runs it",
    ".pre-commit-config.yaml": "git commit runs it",
    ".husky/*": "git runs it",
    ".githooks/*": "git runs it",
    "HEAD": "git may run what the config beside it names",
    ".gitmodules": "git fetches what it names",
    ".gitattributes": "git may run filters that it names",
    "Makefile": "make runs it",
    "makefile": "make runs it",
    "GNUmakefile": "make runs it",
    "justfile": "just runs it",
    "Dockerfile": "docker runs it",
    "docker-compose*.y*ml": "docker runs it",
    "compose.y*ml": "docker runs it",
    "package.json": "npm may run scripts in it",
    ".npmrc": "npm takes its settings from it",
    "pip.conf": "pip takes its settings from it",
    "setup.py": "pip runs it",
    "pyproject.toml": "pip may run what it names",
    "conftest.py": "pytest runs it",
    "noxfile.py": "nox runs it",
    "sitecustomize.py": "every Python runs it",
    "usercustomize.py": "every Python runs it",
    "*.pth": "every Python may run it",
    ".vscode/*": "your editor may run it",
    ".idea/*": "your editor may run it",
    ".vimrc": "your editor runs it",
    ".exrc": "your editor runs it",
    ".nvimrc": "your editor runs it",
    ".dir-locals.el": "your editor may run it",
    ".ssh/*": "it decides who may log in, or where to",
    "authorized_keys": "it decides who may log in",
    "autostart/*.desktop": "your desktop runs it at the start",
    "*.desktop": "your desktop may run it",
    "*.service": "systemd may run it",
    "*.timer": "systemd may run it",
    "crontab": "cron runs it",
    "*.xlsm": "it may hold macros",
    "*.xlam": "it may hold macros",
    "*.docm": "it may hold macros",
    "*.pptm": "it may hold macros",
}


def why(d: Difference) -> str:
    """Why a change is to be looked at; empty where there is no reason."""
    if d.after is None or d.after.kind not in ("file", "link"):
        return ""
    parts = d.path.decode("utf-8", "replace").split("/")
    ends = ["/".join(parts[-n:]) for n in range(1, min(len(parts), 3) + 1)]
    for pattern, reason in NAMES.items():
        if pattern == "HEAD" and ".git" in parts:
            continue
        if any(end.count("/") == pattern.count("/") and fnmatchcase(end, pattern) for end in ends):
            return reason
    if d.after.kind == "file" and d.after.mode & 0o111 and not (d.before is not None and d.before.mode & 0o111):
        return "a program: it can be run"
    if d.after.kind == "file" and d.after.mode & 0o111:
        return "a program that you may run"
    return ""
