"""A conversation as training data: one line of JSON in OpenAI's chat format, as fine-tuning takes it.

    {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}]}

Only jobs that were done are in it, each as the attempt that did it went: what did not do teaches nothing good.
"""

import json
from collections.abc import Sequence

from allod.interpreter.conversations.turns import Turn


def training(turns: Sequence[Turn], system: str = "") -> str:
    """The line; empty where no job was done."""
    done = [turn for turn in turns if turn.status == "done" and turn.messages]
    if not done:
        return ""
    messages = [{"role": "system", "content": system.strip()}] if system.strip() else []
    messages += [{"role": said.role, "content": said.text} for turn in done for said in turn.messages]
    while messages and messages[-1]["role"] != "assistant":  # nobody answered it
        messages.pop()
    return "" if not messages else json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
