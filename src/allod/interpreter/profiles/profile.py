"""What a profile holds: the tables of its TOML file, typed. Data only: nothing in it is ever run.

``Profile.limits`` are the sandbox's own. Whoever starts a job reads ``grants`` and ``ask``; the agent reads the rest.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from allod.interpreter.sandbox.limits import Limits

Ask = Literal["each", "changes", "nothing"]
Count = Annotated[int, Meta(ge=1, le=1000)]
Characters = Annotated[int, Meta(ge=0, le=1_000_000)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Tokens = Annotated[int, Meta(ge=1, le=1 << 24)]
Seconds = Annotated[float, Meta(ge=0, le=10_000_000)]
Line = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\n\x00]*$")]


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A worked job, shown to the model in the words of the real turns. The one that fits the job at hand is shown."""

    kind: str
    files: str  # the listing
    job: str
    code: str  # the block that does the job, its output, the files it wrote
    output: str
    answer: str
    written: str = ""
    reads: list[str] = field(default_factory=list[str])  # files that were read before the job,
    read: str = ""  # the code that did, and what its names then hold
    names: str = ""
    words: list[str] = field(default_factory=list[str])  # fits jobs with these words,
    kinds: list[str] = field(default_factory=list[str])  # about files of these kinds,
    tables: int = 0  # about so many tables or more,
    empty: bool = False  # in an empty folder


class Prompt(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is told. ``listing`` and ``output`` are in characters."""

    system: str
    examples: list[Example] = field(default_factory=list[Example])
    listing: Characters = 1600
    tokens: Annotated[int, Meta(ge=0, le=1 << 20)] = 0  # of a first prompt, as far as a shorter listing does; 0: any
    output: Characters = 1200


class Sampling(Struct, frozen=True, forbid_unknown_fields=True):
    """How it answers. ``afresh`` is the temperature of every attempt but the first."""

    temperature: Temperature = 0.0
    repair: Temperature = 0.3
    afresh: Temperature = 0.6
    max_tokens: Tokens = 1000
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] = 1


class Bounds(Struct, frozen=True, forbid_unknown_fields=True):
    """How long it may go on. How long one block may is in ``Profile.limits``."""

    steps: Count = 4  # blocks an attempt may run
    attempts: Count = 3
    agree: Count = 2  # that must come to the same before it is believed; 1: the first that ran through is
    together: Count = 1  # attempts made at the same time, once the first was not enough
    patience: Seconds = 150.0  # after which no new attempt is begun, and nothing mended
    context: Tokens = 8192
    rest: Seconds = 900.0  # without a job, after which the kernels are let go until the next one
    brief: bool = True  # a job that asks for nothing but files ends when the checks find nothing wrong with them


class Granted(Struct, frozen=True, forbid_unknown_fields=True):
    """What a job may reach besides its folder, as a person writes it; ``workspace.grants.parse`` checks it."""

    read: list[Line] = field(default_factory=list[Line])  # folders
    folders: list[Line] = field(default_factory=list[Line])  # folders that may be changed as the job's own
    net: list[Line] = field(default_factory=list[Line])  # hosts
    packages: bool = False


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a job runs with."""

    model: Line
    prompt: Prompt
    about: Annotated[str, Meta(max_length=200, pattern=r"^[^\n\x00]*$")] = ""  # what it is for, in one line
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)
    limits: Limits = field(default_factory=Limits)
    grants: Granted = field(default_factory=Granted)
    languages: list[Line] = field(default_factory=list[Line])  # that may be run; none: all that are here
    ask: Ask = "each"  # before each block and the changes, before the changes alone, or nothing
    strict: bool = False  # what it forbids, no flag of the command line allows
