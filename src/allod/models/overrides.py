"""What the user set for single models on this machine: ``models.toml`` beside ``config.toml``.

    ["qwen2.5-coder:1.5b"]
    num_ctx = 16384             # any PARAMETER of a Modelfile, in its place
    keep_alive = "24h"          # and these three, in the place of the engine's settings
    slots = 2
    speculate = false

    overrides = Overrides(home)
    overrides.over(model)       # the model with these parameters
    overrides.of(model.name)    # all that is set for it

The model itself stays as it was made: what is made from it, copied or pushed knows nothing of this. The file is read
again when it has changed.
"""

from typing import Any, cast

import msgspec
from msgspec import Struct, field, structs

from allod.errors import BadName, BadSettings
from allod.home import Home
from allod.models.name import Name
from allod.models.store import Model


class Override(Struct, frozen=True):
    """What is set for one model."""

    params: dict[str, Any] = field(default_factory=dict[str, Any])
    keep_alive: str = ""
    slots: int = 0
    speculate: bool | None = None


NONE = Override()
OWN: dict[str, type] = {"keep_alive": str, "slots": int, "speculate": bool}


class Overrides:
    """The file."""

    def __init__(self, home: Home) -> None:
        self.path = home.config / "models.toml"
        self._seen: tuple[int, int] | None = None
        self._found: dict[str, Override] = {}

    def of(self, name: Name) -> Override:
        """All that is set for a model; nothing where the file does not name it.

        Raises:
            BadSettings: the file is broken; says where.
        """
        self._read()
        return self._found.get(str(name).lower(), NONE)

    def over(self, model: Model) -> Model:
        """The model with the user's parameters in the place of its own. Raises BadSettings."""
        own = self.of(model.name).params
        return structs.replace(model, params=model.params | own) if own else model

    @property
    def names(self) -> list[str]:
        """The models for which something is set. Raises BadSettings."""
        self._read()
        return list(self._found)

    def _read(self) -> None:
        """Reads the file, where it is another one than last time."""
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._found = parse(self.path.read_bytes().decode(), str(self.path))
                self._seen = seen
        except FileNotFoundError:
            self._found, self._seen = {}, None
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{self.path} cannot be read: {error}", f"Mend or remove {self.path}.") from error


def parse(text: str, path: str) -> dict[str, Override]:
    """What a file says, by the full name of the model in lower case. Raises BadSettings."""
    import tomllib  # here and below: most people have no such file

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is no TOML: {error}", f"Mend or remove {path}.") from error
    found: dict[str, Override] = {}
    for key, table in tables.items():
        try:
            if not isinstance(table, dict):
                raise ValueError(f"{key} stands before the first model")
            found[str(Name.parse(key)).lower()] = override(cast("dict[str, Any]", table))
        except (ValueError, BadName) as error:
            raise BadSettings(
                f'{path}, ["{key[:120]}"]: {error}', 'Write it as ["name:tag"], then key = value.'
            ) from error
    return found


def override(table: dict[str, Any]) -> Override:
    """One model's table. Raises ValueError."""
    import difflib

    from allod.models.modelfile import PARAMETERS, typed

    own = {key: value for key, value in table.items() if key in OWN}
    for key in table.keys() - OWN.keys() - PARAMETERS.keys():
        near = difflib.get_close_matches(key, [*OWN, *PARAMETERS], 1)
        raise ValueError(f"there is no setting '{key}'" + (f", did you mean '{near[0]}'?" if near else ""))
    for key, value in own.items():
        if type(value) is not OWN[key] or (key == "slots" and not 0 <= value <= 256):
            raise ValueError(f"{key} = {value!r} makes no sense")
    params = {key: typed(key, value) for key, value in table.items() if key in PARAMETERS}
    return msgspec.convert(own | {"params": params}, Override)
