"""A job from the command line: what was typed becomes folder, profile, grants and model; then the desk works.

    code = await work(home, Wanted("Total the invoices", Path(), …))     # an exit code

Everything that is wrong with what was typed is said here, before a model is loaded or anything runs.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from allod.cli.output import note
from allod.errors import BadRequest

if TYPE_CHECKING:
    from allod.home import Home
    from allod.interpreter.conversations import Conversation
    from allod.interpreter.given import Given
    from allod.interpreter.profiles import Profile

LARGE = 6.5e9  # parameters from which the profile `large` serves a model better than `default`


class Wanted(Struct, frozen=True, kw_only=True):
    """What the command line says."""

    task: str
    folder: Path
    model: str = ""
    profile: str = ""  # empty: by the conversation, else by the model
    files: tuple[Path, ...] = ()
    go_on: bool = False
    resume: str | None = None  # empty: the person picks one
    read: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    net: tuple[str, ...] = ()
    packages: bool = False
    yes: bool = False
    no_apply: bool = False
    unconfined: bool = False
    as_json: bool = False
    can_ask: bool = True  # there is a person at a terminal
    max_steps: int = 0  # 0: the profile's
    seed: int | None = None
    keep_alive: float | None = None


async def work(home: "Home", wanted: Wanted) -> int:
    """Does the job, or holds a conversation where there is none yet. Returns the exit code.

    Raises:
        AllodError: the folder, the profile, a grant, a file or the model cannot be used.
    """
    from allod.cli.chat import Chat, Settings
    from allod.cli.desk import Desk
    from allod.cli.fetch import leased
    from allod.engine import connect
    from allod.interpreter.workspace import checked

    before = await earlier(home, wanted)
    here = wanted.folder == Path()
    folder = checked(Path(before.folder) if before and before.folder and here else wanted.folder)
    name, profile = chosen_profile(home, wanted, before)
    confined = check_sandbox(wanted)
    profile = as_asked(profile, wanted, confined)
    files = [given(file, folder) for file in wanted.files]
    desk = Desk(home, folder, name, profile, before, wanted, confined=confined)
    settings = Settings(params={"num_ctx": profile.bounds.context}, keep_alive=wanted.keep_alive)
    async with connect(home) as engine, leased(home, Chat(engine, desk.interpreter.model, settings)) as runner:
        await desk.open(runner)
        try:
            if before:
                desk.greet()
            return await (desk.one(wanted.task, files) if wanted.task else desk.converse(files))
        finally:
            await desk.close()


def given(file: Path, folder: Path) -> "Given":
    """A file that goes along. Raises BadRequest where it cannot be read, or is no picture though its name says so."""
    from allod.cli.pictures import is_picture, read_picture
    from allod.interpreter.given import Given

    found = Given.at(file, folder)
    if is_picture(file):
        read_picture(file.expanduser())
    return found


async def earlier(home: "Home", wanted: Wanted) -> "Conversation | None":
    """The conversation that is gone on with; None for a new one."""
    from allod.cli.resume import resumed
    from allod.interpreter.conversations import Conversation

    folder = wanted.folder.expanduser().resolve()
    if wanted.resume is not None:
        return await resumed(home, wanted.resume, folder)
    return Conversation.last(home, folder) if wanted.go_on else None


# ── the profile ─────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen_profile(home: "Home", wanted: Wanted, before: "Conversation | None") -> "tuple[str, Profile]":
    """The profile that was named, else the conversation's, else the one that fits the model."""
    from allod.interpreter import profiles
    from allod.interpreter.profiles import BUILT_IN

    if wanted.profile:
        return wanted.profile, profiles.load(home, wanted.profile)
    if before and before.profile in profiles.names(home):
        return before.profile, profiles.load(home, before.profile)
    default = profiles.load(home)
    model = wanted.model or (before.model if before else default.model)
    own = profiles.where(home, "default").parent != BUILT_IN  # then the person's word goes
    if not own and parameters(home, model) >= LARGE:
        return "large", profiles.load(home, "large")
    return "default", default


def parameters(home: "Home", model: str) -> float:
    """How many parameters a model has, as the store here or its name says; 0 where neither does."""
    from allod.cli.fetch import found_here

    here = found_here(home, model)
    for text in (here.config.model_type if here else "", model.rpartition(":")[2]):
        if match := re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])(?![a-z0-9])", text, re.I):
            return float(match[1]) * (1e9 if match[2] in "Bb" else 1e6)
    return 0.0


def as_asked(profile: "Profile", wanted: Wanted, confined: bool) -> "Profile":
    """The profile with what the flags change of it.

    Raises:
        BadRequest: it forbids that, or somebody would have to be asked who is not there.
    """
    if profile.strict and (wanted.yes or wanted.net or wanted.packages or wanted.folders or wanted.read):
        raise BadRequest(
            "this profile asks before everything and grants nothing; no flag loosens that",
            "Leave out --yes, --read, --add-folder, --net and --packages, or take another profile.",
        )
    ask = "nothing" if wanted.yes else profile.ask if confined else "each"
    if not wanted.can_ask and (ask == "each" or (ask == "changes" and not wanted.no_apply)):
        raise BadRequest(
            "there is nobody to ask before code is run and changes are applied",
            "Say yes to all of it with `allod do --yes …`, or type the command in a terminal.",
        )
    bounds, sampling = profile.bounds, profile.sampling
    return msgspec.structs.replace(
        profile,
        ask=ask,
        bounds=msgspec.structs.replace(bounds, steps=wanted.max_steps or bounds.steps),
        sampling=msgspec.structs.replace(sampling, seed=sampling.seed if wanted.seed is None else wanted.seed),
    )


# ── what the job may reach ──────────────────────────────────────────────────────────────────────────────────────────


def check_sandbox(wanted: Wanted) -> bool:
    """Whether code is confined on this machine; where it is not, that is said so that nobody misses it.

    Raises:
        SandboxFailed: it is not, and nobody would be asked before it runs.
    """
    from allod.errors import SandboxFailed
    from allod.interpreter.sandbox import Sandbox

    if Sandbox.find().confines:
        return True
    if wanted.yes and not wanted.unconfined:
        raise SandboxFailed(
            "there is no sandbox on this machine: code could read and change everything that you can",
            "Without --yes you are asked before each block. `allod doctor` says what is missing.",
        )
    note(
        "WARNING: there is no sandbox on this machine. Code that is run can read, change and send everything that you\n"
        "can. Read each block before you say yes. `allod doctor` says what is missing."
    )
    return False
