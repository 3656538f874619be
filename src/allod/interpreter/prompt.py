"""The words that a model is asked with. Worked examples go through the same functions as the real turns.

A conversation begins with what seldom changes (system prompt, a worked job of the kind at hand), so that an engine
finds it in its cache; then come the listing of the folder and the job. What comes out of files and code is cut to head
and tail.
"""

import re
from collections.abc import Sequence

from allod.chat import Message
from allod.interpreter import checks
from allod.interpreter.profiles import Example, Profile, Prompt

CODE_FIRST = "Write the ```python block that does it."
FENCE = "```python\n"
NO_INTERNET = "There is no internet."  # as profiles say it
CUT = "The block was cut off, as it was too long. Write a shorter one."


def prefix(profile: Profile, example: Example | None, hosts: Sequence[str] = ()) -> list[Message]:
    """What the conversation begins with: the system prompt and a worked job. ``hosts``: those that can be reached."""
    prompt = profile.prompt
    system = prompt.system.strip()
    if hosts:
        system = system.replace(NO_INTERNET, f"Of the internet only {', '.join(hosts)} can be reached.")
    messages = [Message("system", system)]
    if example is not None:
        names = [example.names] if example.names else []
        job = asked(example.job, set(re.findall(r"[\w./-]+\.\w+", example.files)))
        messages += first_turn(example.files, job, example.reads, example.read, names, ())
        messages.append(Message("assistant", fenced(example.code)))
        output = example.output.strip("\n")
        messages.append(Message("user", outcome(output, example.written, go_on(example.job), prompt)))
        messages.append(Message("assistant", example.answer))
    return messages


def fitting(profile: Profile, task: str, kinds: Sequence[str], empty: bool) -> Example | None:
    """The example that is nearest to the task, by its words and the kinds of the files that it is about."""
    said = re.sub(r"[\w./-]*\.\w{2,5}\b", " ", task.casefold())  # without the names of files

    def score(example: Example) -> int:
        found = [word for word in example.words if re.search(rf"\b{re.escape(word)}\b", said)]
        words = sum(1 + word.count(" ") for word in found)
        files = any(kind in example.kinds for kind in kinds)
        joined = 0 < example.tables <= kinds.count("table") + 2 * kinds.count("database")
        return 2 * words + 3 * files + 3 * joined + 3 * (example.empty and empty)

    return max(profile.prompt.examples, key=score, default=None)


def first_turn(
    listing: str, job: str, read: Sequence[str], code: str, names: Sequence[str], lessons: Sequence[str]
) -> list[Message]:
    """The folder and the job; before it, where files were read for it, the code that did and what its names hold."""
    mind = "".join(f"\nMind: {lesson}" for lesson in lessons)
    if not code:
        return [Message("user", f"Files:\n{listing}\n\nJob: {job}{mind}")]
    held = "\n".join(names)
    return [
        Message("user", f"Files:\n{listing}\n\nRead {' and '.join(read)}."),
        Message("assistant", fenced(code)),
        Message("user", f"{held}\n\nJob: {job}{mind}\nWrite the block that does it."),
    ]


def asked(task: str, files: set[str], linked: Sequence[str] = ()) -> str:
    """The job, and what of it is known or can be checked once more, one thing a line."""
    return task + "".join(f"\n- {line}" for line in [*linked, *checks.demands(task, files)])


def later_turn(listing: str, task: str, names: Sequence[str], lessons: Sequence[str]) -> list[Message]:
    """Another job in the same conversation: the files that are new, and the variables there are."""
    parts = [f"Files:\n{listing}"] if listing else []
    if names:
        parts.append("Variables:\n" + "\n".join(names))
    mind = "".join(f"\nMind: {lesson}" for lesson in lessons)
    return [Message("user", "\n\n".join([*parts, f"Job: {task}{mind}"]))]


def outcome(output: str, written: str, ask: str, prompt: Prompt, error: str = "") -> str:
    """The user's turn after a block: what it printed, what it wrote, what is wanted next."""
    parts: list[str] = []
    if output.strip():
        parts.append("Output:\n" + clip(output.strip("\n"), prompt.output))
    elif not error:
        parts.append("There was no output.")
    if error:
        parts.append("Error:\n" + clip(error, prompt.output))
    if written:
        parts.append(written)
    return "\n".join(parts) + "\n\n" + ask


def go_on(task: str) -> str:
    """What is wanted after a block that ran."""
    ask = "If the output answers it, tell me the results in one or two sentences. If not, write the next block."
    return f"The job: {task}\n{ask}"


def mend(task: str) -> str:
    """What is wanted after an error."""
    return f"The job: {task}\nWrite the block again without this mistake."


def complete(task: str, problems: Sequence[str]) -> str:
    """What is wanted after a block that did only part of the job."""
    return f"The job: {task}\n{' '.join(problems)} Write the block again, so that it does all of the job."


def fenced(code: str, language: str = "python") -> str:
    """Code in a fence that is longer than any in it."""
    mark = "```"
    while mark in code:
        mark += "`"
    return f"{mark}{language}\n{code.strip(chr(10))}\n{mark}"


def clip(text: str, limit: int) -> str:
    """Head and tail of a text, two parts to one, cut at lines where there are some near."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    if "\n" in head[-200:]:
        head = head[: head.rindex("\n")]
    if "\n" in tail[:200]:
        tail = tail[tail.index("\n") + 1 :]
    return f"{head}\n[…]\n{tail}"
