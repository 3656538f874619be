"""Profiles: what a job runs with, as data. A profile names the model and holds the prompt, the limits, the sampling.

    profile = load(home)                    # the built-in default
    profile = load(home, "careful")         # <config>/profiles/careful.toml, else a built-in of that name

TOML files; ``extends = "default"`` (which is also what a file without it does) takes what is not said from another one.
A profile never runs code, and a misspelt key is an error that names it.

profile.py  the tables, typed        files.py  finding and reading them        making.py  new ones
"""

from allod.interpreter.profiles.files import BUILT_IN, Listed, listed, load, names, places, where
from allod.interpreter.profiles.making import make, plain, shown
from allod.interpreter.profiles.profile import Ask, Bounds, Example, Granted, Profile, Prompt, Sampling

__all__ = [
    "BUILT_IN",
    "Ask",
    "Bounds",
    "Example",
    "Granted",
    "Listed",
    "Profile",
    "Prompt",
    "Sampling",
    "listed",
    "load",
    "make",
    "names",
    "places",
    "plain",
    "shown",
    "where",
]
