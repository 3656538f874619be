"""What a llama.cpp server says of itself at ``/props``."""

from msgspec import Struct, field

from allod.engine.runner import Facts

THINKING = ("enable_thinking", "reasoning_content", "<think>", "<|channel|>")  # in templates of models that think


class Generation(Struct):
    """Of ``/props``."""

    n_ctx: int = 0


class Modalities(Struct):
    """Of ``/props``."""

    vision: bool = False
    audio: bool = False


class Props(Struct):
    """The reply of ``/props``, as far as it is looked at."""

    default_generation_settings: Generation = field(default_factory=Generation)
    total_slots: int = 1
    modalities: Modalities = field(default_factory=Modalities)
    chat_template: str = ""
    chat_template_caps: dict[str, bool] = field(default_factory=dict[str, bool])
    media_marker: str = "<__media__>"
    build_info: str = ""

    def facts(self, name: str) -> Facts:
        """What they say of the model that goes by ``name``."""
        return Facts(
            model=name,
            context=self.default_generation_settings.n_ctx,
            slots=self.total_slots,
            vision=self.modalities.vision,
            audio=self.modalities.audio,
            tools=self.chat_template_caps.get("supports_tools", False),
            thinking=any(sign in self.chat_template for sign in THINKING),
            template=self.chat_template,
        )
