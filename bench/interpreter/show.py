"""Prints transcripts of results:  show.py FILE.json [NAME …] [--failed] [--width N]"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

SKIPPED = {"started", "usage"}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main() -> int:
    parser = Parser(prog="show.py", description="Prints transcripts of results.")
    parser.add_argument("file", type=Path)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--failed", action="store_true", help="only what did not pass")
    parser.add_argument("--cut", type=int, default=3000, metavar="N", help="characters of each event; 3000")
    wanted = parser.parse_args()
    try:
        results = json.loads(wanted.file.read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{wanted.file} holds no results: {error}")
    if missing := set(wanted.names) - {each["name"] for each in results}:
        parser.error(f"{wanted.file} has no task {', '.join(sorted(missing))}")
    for result in results:
        if (not wanted.names or result["name"] in wanted.names) and not (wanted.failed and result["passed"]):
            show(result, wanted.cut)
    return 0


def show(result: dict[str, Any], cut: int) -> None:
    verdict = "passed" if result["passed"] else f"FAILED: {result['complaint']}"
    print(f"{'═' * 100}\n{result['name']} ({result['kind']}, {result['split']}, seed {result['seed']}): {verdict}")
    print(f"{result['seconds']} s, {result['attempts']} attempts; files: {', '.join(result['files'])}")
    for turn in result["turns"]:
        print(f"── user\n{turn['prompt']}")
        for event in turn["events"]:
            if event["type"] not in SKIPPED:
                print(f"── {title(event)}\n{text(event)[:cut]}".rstrip())
        if turn["exit"] != 0 or turn["stderr"].strip():
            print(f"── exit {turn['exit']}\n{turn['stderr'][-cut:]}".rstrip())


def title(event: dict[str, Any]) -> str:
    more = [event[key] for key in ("author", "kind", "name", "status") if event.get(key)]
    return " · ".join([event["type"], *more])


def text(event: dict[str, Any]) -> str:
    if event["type"] == "changes":
        return "\n".join(f"{each['kind']} {each['path']}" for each in event["changes"])
    if event["type"] == "applied":
        return "\n".join(event["paths"])
    return next((event[key] for key in ("code", "output", "text", "message", "reason") if event.get(key)), "")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)
