"""Has `allod do` do the tasks, each in a fresh folder, and checks what came of it.

    python bench/interpreter/run.py                          all tasks, the default model, seed 1
    python bench/interpreter/run.py --split tune --seed 1 2 3 --out bench/out/tune.json
    python bench/interpreter/run.py --only late-trains --model qwen2.5-coder:0.5b

Prints a line as each task ends; the results with all transcripts are in the JSON, which `show.py` prints. Where many
tasks are run, start `allod serve` first, so that the model is loaded once. Settings are those of `allod` (ALLOD_HOME,
ALLOD_HOST). Ends with 0 however many tasks pass.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from suite.task import Job, Task, everything, split  # noqa: E402

from common import machine  # noqa: E402

BOOKKEEPING = {"prose", "code_text", "code_opened", "thought"}  # pieces of what a later event says whole


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def arguments() -> argparse.Namespace:
    parser = Parser(prog="run.py", description="Has `allod do` do the tasks and checks what came of it.")
    parser.add_argument("--split", choices=["tune", "report", "all"], default="all", help="which half")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tasks, or all of these kinds")
    parser.add_argument("--model", metavar="M", help="the profile's by default")
    parser.add_argument("--profile", metavar="NAME", help="of allod do")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N", help="once for each; 1")
    parser.add_argument("--limit-s", type=float, default=240, metavar="S", help="for a task with all its turns; 240")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="results and transcripts")
    parser.add_argument("--allod", type=Path, metavar="PATH", help="the program; the one beside this Python by default")
    parser.add_argument("--data", type=int, default=1, metavar="N", help="other data for the same tasks; 1")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the folders as they were left, in there")
    parser.add_argument("--list", action="store_true", help="name the tasks and end")
    found = parser.parse_args()
    found.allod = (found.allod or Path(sys.executable).with_name("allod")).absolute()
    if not os.access(found.allod, os.X_OK):
        parser.error(f"there is no program {found.allod}; name it with --allod PATH")
    if found.limit_s <= 0:
        parser.error("--limit-s has to be more than 0")
    for place in (found.out and found.out.absolute().parent, found.keep):
        try:
            if place:
                place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"cannot make {place}: {error.strerror}")
    found.tasks = chosen(parser, found)
    return found


def chosen(parser: argparse.ArgumentParser, wanted: argparse.Namespace) -> list[tuple[str, Task]]:
    """The tasks to run, each with its half."""
    known = everything()
    halves = {name: half for half, names in split().items() for name in names}
    kinds = {task.kind for task in known.values()}
    for name in wanted.only or []:
        if name not in known and name not in kinds:
            near = difflib.get_close_matches(name, [*known, *kinds], 1)
            parser.error(
                f"there is no task or kind {name}" + (f"; did you mean {near[0]}?" if near else "; see --list")
            )
    return [
        (halves[name], task)
        for name, task in known.items()
        if wanted.split in ("all", halves[name]) and (not wanted.only or {name, task.kind} & set(wanted.only))
    ]


def one(task: Task, half: str, seed: int, wanted: argparse.Namespace) -> dict[str, Any]:
    """Runs one task; what came of it."""
    place = Path(tempfile.mkdtemp(prefix="job-"))
    try:
        folder = place / "work"
        folder.mkdir()
        job = Job(task, folder, wanted.data)
        began = time.monotonic()
        turns: list[dict[str, Any]] = []
        for number, prompt in enumerate(task.prompts):
            left = wanted.limit_s - (time.monotonic() - began)
            command = [str(wanted.allod), "do", "--yes", "--output", "json", "--seed", str(seed)]
            command += ["--model", wanted.model] if wanted.model else []
            command += ["--profile", wanted.profile] if wanted.profile else []
            command += ["--continue"] if number else []
            turns.append({"prompt": prompt, **turn([*command, "--", prompt], folder, place, left)})
        seconds = time.monotonic() - began
        said, answered = ("\n".join(words(each["events"], kinds) for each in turns) for kinds in (SAID, ANSWERED))
        complaint = broken(turns) or verdict(job, said)
        result = {
            "name": task.name,
            "kind": task.kind,
            "split": half,
            "seed": seed,
            "passed": not complaint,
            "complaint": complaint,
            "by_answer_alone": not complaint and not verdict(job, answered),
            "seconds": round(seconds, 1),
            "timed_out": any(each["timed_out"] for each in turns),
            **usage(turns),
            "files": {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()},
            "turns": turns,
        }
        if wanted.keep:
            shutil.copytree(folder, wanted.keep / f"{task.name}-{seed}", dirs_exist_ok=True)
        return result
    finally:
        shutil.rmtree(place, ignore_errors=True)


def turn(command: list[str], folder: Path, place: Path, limit: float) -> dict[str, Any]:
    """One `allod do`, ended at the limit with all that it started."""
    began = time.monotonic()
    out, err = place / "out", place / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
        started = psutil.Popen(command, cwd=folder, start_new_session=True, **streams)
        try:
            code: int | None = started.wait(timeout=max(limit, 0))
        except psutil.TimeoutExpired:
            code = None
        except BaseException:
            end(started)
            raise
        if code is None:
            end(started)
    events: list[dict[str, Any]] = []
    for line in out.read_text(errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            events.append({"type": "no json", "text": line})
    return {
        "exit": code,
        "timed_out": code is None,
        "seconds": round(time.monotonic() - began, 1),
        "events": [event for event in events if event.get("type") not in BOOKKEEPING],
        "stderr": err.read_text(errors="replace")[-4000:],
    }


def end(started: psutil.Popen) -> None:
    """The process and its children, first politely."""
    try:
        family = [started, *started.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    started.terminate()
    psutil.wait_procs([started], timeout=5)
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(family, timeout=10)


SAID = ("answer", "output")
ANSWERED = ("answer",)


def words(events: list[dict[str, Any]], kinds: tuple[str, ...]) -> str:
    """What was said to the person: the answer and what the code printed, of the attempt that was taken."""
    said: dict[int, list[str]] = {1: []}  # by attempt
    number = 1
    for event in events:
        text = event.get("text", "")
        if event.get("type") == "notice":
            taken = re.match(r"attempt (\d+) of \d+ is taken", text)
            if taken or "tried afresh" in text:
                number = int(taken[1]) if taken else number + 1
                said[number] = []
        elif event.get("type") in kinds and event.get("kind") != "picture":
            said[number].append(text)
    left = {event.get("number") for event in events if event.get("type") == "tried"}
    return "\n".join(said[max((each for each in said if each not in left), default=number)])


def broken(turns: list[dict[str, Any]]) -> str:
    """Why a turn came to no end of its own, where it was not the time limit: the program failed, not the model."""
    for each in turns:
        if not each["timed_out"] and not any(event.get("type") == "ended" for event in each["events"]):
            return f"allod ended with {each['exit']}: {' '.join(each['stderr'].split())[-200:]}"
    return ""


def verdict(job: Job, said: str) -> str:
    try:
        return job.complaint(said)
    except Exception as error:  # noqa: BLE001 - a result that no check foresaw is a wrong one, and is told apart
        return f"the check broke: {error!r}"


def usage(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """What it cost, over all turns, and how it ended."""
    used = [event for each in turns for event in each["events"] if event.get("type") == "usage"]
    ends = [event.get("status") for each in turns for event in each["events"] if event.get("type") == "ended"]
    names = ("prompt_tokens", "output_tokens", "blocks", "attempts")
    return {**{name: sum(event.get(name, 0) for event in used) for name in names}, "status": ends[-1] if ends else None}


def line(result: dict[str, Any]) -> str:
    """One result for a person."""
    tail = result["complaint"] or ("" if result["by_answer_alone"] else "(by what the code printed)")
    return (
        f"{'pass' if result['passed'] else 'FAIL'} {result['seconds']:6.1f} s{' LIMIT' if result['timed_out'] else ''}"
        f"  {result['attempts']} attempts, {result['blocks']} blocks, "
        f"{result['prompt_tokens']}+{result['output_tokens']}"
        f" tokens, {result['status'] or 'no end'}  {tail[:100]}"
    )


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """How many passed, by half and by kind; medians."""

    def of(some: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "of": len(some),
            "passed": sum(r["passed"] for r in some),
            "passed_by_answer_alone": sum(r["by_answer_alone"] for r in some),
            "rate": round(sum(r["passed"] for r in some) / len(some), 3),
            "timed_out": sum(r["timed_out"] for r in some),
            "median_seconds": statistics.median(r["seconds"] for r in some),
            "prompt_tokens": round(statistics.mean(r["prompt_tokens"] for r in some)),
            "output_tokens": round(statistics.mean(r["output_tokens"] for r in some)),
            "attempts": round(statistics.mean(r["attempts"] for r in some), 2),
            "sure_but_wrong": sum(r["status"] == "done" and not r["passed"] for r in some),
        }

    def by(key: str) -> dict[str, Any]:
        return {str(value): of([r for r in results if r[key] == value]) for value in sorted({r[key] for r in results})}

    return {"all": of(results), "split": by("split"), "seed": by("seed"), "kind": by("kind")}


def report(found: dict[str, Any]) -> None:
    for kind, some in found["kind"].items():
        print(f"  {kind:16} {some['passed']:3} of {some['of']:<3} {some['median_seconds']:6.1f} s")
    for name, some in [*found["split"].items(), ("all", found["all"])]:
        print(
            f"{name}: {some['passed']} of {some['of']} passed ({some['rate']:.0%}; {some['passed_by_answer_alone']} "
            f"by the"
            f" answer alone; {some['sure_but_wrong']} done but wrong), median {some['median_seconds']:.1f} s,"
            f" mean {some['prompt_tokens']}+{some['output_tokens']} tokens, {some['attempts']} attempts,"
            f" {some['timed_out']} at the limit"
        )


def main() -> int:
    wanted = arguments()
    if wanted.list:
        for half, task in wanted.tasks:
            print(f"{half:7} {task.kind:16} {task.name:20} {' / '.join(task.prompts)}"[:160])
        return 0
    names = ("model", "profile", "limit_s", "data", "split")
    doc: dict[str, Any] = {"machine": machine(), **{name: getattr(wanted, name) for name in names}, "results": []}
    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background
        signal.signal(number, interrupted)
    runs = [(seed, half, task) for seed in wanted.seed for half, task in wanted.tasks]
    try:
        for number, (seed, half, task) in enumerate(runs, 1):
            print(f"[{number:{len(str(len(runs)))}}/{len(runs)}] {task.name:20} seed {seed}  ", end="", flush=True)
            doc["results"].append(one(task, half, seed, wanted))
            print(line(doc["results"][-1]), flush=True)
            doc["summary"] = summary(doc["results"])
            if wanted.out:
                save(wanted.out, doc)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    finally:
        if doc["results"]:
            report(doc["summary"])
    return 0


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def save(path: Path, doc: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(doc, indent=1, ensure_ascii=False) + "\n")
    part.replace(path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)
