"""The console script and ``python -m allod``.

``allod --version`` is answered here, before anything is imported; all else goes to `allod.cli.app`.
"""

import sys

from allod import __version__


def main() -> int:
    """Runs the command line; returns the exit code."""
    args = sys.argv[1:]
    if len(args) == 1 and args[0] in ("--version", "-v"):
        print(f"allod {__version__}")
        return 0
    try:
        from allod.cli.app import run
    except KeyboardInterrupt:  # Ctrl-C while Python still imports
        return 130
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
