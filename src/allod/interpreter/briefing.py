"""What an attempt begins with: it looks at the folder, reads what the task names, and writes the first messages.

The listing gets shorter until the prompt has as many tokens as the profile allows, by the model's own count.
"""

from msgspec import Struct, field

from allod.chat import Message
from allod.engine.runner import Runner
from allod.interpreter import listing, prompt
from allod.interpreter.listing import Found, Listing
from allod.interpreter.profiles import Example, Profile
from allod.interpreter.session import Session
from allod.interpreter.turn import fits


class Briefing(Struct, frozen=True):
    """What it is written from. ``example``: the conversation's so far; ``lessons``: of earlier attempts."""

    task: str
    profile: Profile
    runner: Runner
    example: Example | None
    goes_on: bool  # there were turns before
    lessons: list[str]


class Brief(Struct):
    """``head``: what many conversations begin with; ``job``: the folder and the job; ``read``: code that read files."""

    example: Example | None
    head: list[Message] = field(default_factory=list[Message])
    job: list[Message] = field(default_factory=list[Message])
    read: str = ""


class Seen(Struct, frozen=True):
    """What was found in the folder and in the session."""

    found: Listing
    read: list[Found]
    there: list[str]  # the variables of earlier turns, a line each
    asked: str  # the job, with what is known of it


async def brief(asked: Briefing, session: Session) -> Brief:
    """Looks, reads, and says it."""
    seen = await look(asked, session)
    told = Brief(asked.example)
    if not asked.goes_on:
        kinds = [each.kind for each in seen.read or seen.found.named(asked.task)]
        told.example = prompt.fitting(asked.profile, asked.task, kinds, not seen.found.names)
    told.head = prompt.prefix(asked.profile, told.example, session.workspace.grants.net)
    told.read = "\n".join(line for each in seen.read for line in each.load)
    most = asked.profile.prompt.tokens if not asked.goes_on else 0
    for limit in listing.limits(asked.profile.prompt.listing):
        told.job = words(asked, seen, told.read, limit)
        if not most or await fits(asked.runner, [*told.head, *told.job], most):
            break
    return told


async def look(asked: Briefing, session: Session) -> Seen:
    """The folder; the files that the task needs are read into variables where they are not yet."""
    await session.begin()
    found = await session.look(asked.task)
    there = await session.variables() if asked.goes_on else []
    wanted = found.wanted(asked.task)
    missing = [each for each in wanted if not any(line.startswith(f"{each.name} is ") for line in there)]
    read = [each for each in missing if await session.read(each)]
    linked = await session.linked(asked.task, read)
    return Seen(found, read, there, prompt.asked(asked.task, session.names, linked))


def words(asked: Briefing, seen: Seen, code: str, limit: int) -> list[Message]:
    """The folder and the job, told in about ``limit`` characters for the folder."""
    folder = seen.found.text(asked.task, seen.read, limit)
    if seen.read:
        names = [*seen.there, *listing.held(seen.read, limit)]
        return prompt.first_turn(folder, seen.asked, [each.path for each in seen.read], code, names, asked.lessons)
    if asked.goes_on:
        return prompt.later_turn(folder, seen.asked, seen.there, asked.lessons)
    return prompt.first_turn(folder, seen.asked, (), "", (), asked.lessons)
