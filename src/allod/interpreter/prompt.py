"""The words that a model is asked with. Worked examples go through the same functions as the real turns.

A conversation begins with what never changes (system prompt, examples), so that an engine finds it in its cache; then
come the folder's listing and the job. What comes out of files and code is cut to head and tail.
"""

from collections.abc import Sequence

from allod.chat import Message
from allod.interpreter.profiles import Profile, Prompt

NEXT = "If the job is done, answer in one or two sentences, without code. If not, write the next block."
ANSWER = "Now answer in one or two sentences, without code."
CODE_FIRST = "Write the ```python block that does it."
CUT = "The block was cut off, as it was too long. Write a shorter one."


def prefix(profile: Profile) -> list[Message]:
    """What every conversation begins with."""
    prompt = profile.prompt
    messages = [Message("system", prompt.system.strip())]
    for example in prompt.examples:
        messages += first_turn(example.files, example.job, example.read, [example.names], ())
        messages.append(Message("assistant", fenced(example.code)))
        messages.append(Message("user", outcome(example.output.strip("\n"), example.written, NEXT, prompt)))
        messages.append(Message("assistant", example.answer))
    return messages


def first_turn(listing: str, task: str, code: str, names: Sequence[str], lessons: Sequence[str]) -> list[Message]:
    """The job and the folder; where files were read for it, the code that read them and what its names hold."""
    mind = "".join(f"\nMind: {lesson}" for lesson in lessons)
    opening = f"Files:\n{listing}\n\nJob: {task}"
    if not code:
        return [Message("user", opening + mind)]
    held = "\n".join(names)
    return [
        Message("user", opening),
        Message("assistant", fenced(code)),
        Message("user", f"{held}\n{mind}\nNow write the block that does the job: {task}"),
    ]


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


def mend(task: str) -> str:
    """What is wanted after an error."""
    return f"The job: {task}\nWrite the whole block again without this mistake."


def complete(task: str, problems: Sequence[str]) -> str:
    """What is wanted after a block that did only part of the job."""
    return f"The job: {task}\n{' '.join(problems)} Write the whole block again, so that it does all of the job."


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
