"""Which slot of a child a request should take: the one whose cache it continues, else one beside those at work.

llama.cpp, left alone, takes the slot with the most alike prompt or the one unused longest. But it decodes several slots
in one step only where their numbers follow each other (llama_batch_allocr::split_equal): two streams in slots 0 and 1
gave 1.27 times the tokens of one, in slots 0 and 2 0.96 times (qwen2.5-coder 1.5B on 3 cores). One cache for all slots
would be an answer too, but then each stream passes over everybody's cells: half as fast, beside 3 long idle prompts.
"""

import re
import time

KEPT = 64 * 1024  # bytes of a prompt that are remembered
PINNED = (
    "/v1/chat/completions",
    "/v1/completions",
    "/completion",
    "/infill",
)  # paths that generate and know of slots
SEVERAL = re.compile(rb'"n"\s*:\s*(?:[2-9]|[1-9][0-9])|"prompt"\s*:\s*\[\s*["\[{]')
GRAIN = 256  # bytes of a common beginning that are worth being no neighbour of those at work


class Slots:
    """The slots of one child: which are at work, and how the last prompt of each began."""

    def __init__(self, count: int) -> None:
        self.busy: set[int] = set()
        self._prompts = [b""] * count
        self._used = [0.0] * count
        self._found = [0] * count

    def take(self, prompt: bytes) -> int:
        """A free slot for a prompt; it is busy from now on. There must be one."""
        prompt = prompt[:KEPT]
        free = [slot for slot in range(len(self._prompts)) if slot not in self.busy]
        grain = GRAIN if self.busy else 1
        slot = min(free, key=lambda s: (-(self._worth(s, prompt) // grain), self._runs(s), self._used[s], s))
        self.busy.add(slot)
        self._found[slot] = common(self._prompts[slot], prompt)
        self._prompts[slot] = prompt
        return slot

    def held(self, slot: int, beginning: bytes) -> bool:
        """Whether a slot held this beginning of its prompt before it was taken."""
        return self._found[slot] >= len(beginning[:KEPT])

    def forget(self, slot: int) -> None:
        """What a slot holds is not known."""
        self._prompts[slot] = b""

    def release(self, slot: int) -> None:
        """It is free again, its cache kept."""
        self.busy.discard(slot)
        self._used[slot] = time.monotonic()

    def _worth(self, slot: int, prompt: bytes) -> int:
        """What a prompt would find of its beginning in a slot's cache, less what of another's it would drop there."""
        held = self._prompts[slot]
        found = common(held, prompt)
        return max(0, 2 * found - len(held))

    def _runs(self, slot: int) -> int:
        """Into how many runs of neighbours the slots at work would fall with this one."""
        busy = self.busy | {slot}
        return sum(number - 1 not in busy for number in busy)


def common(one: bytes, other: bytes) -> int:
    """Bytes that two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


# ── slots for raw bodies ────────────────────────────────────────────────────────────────────────────────────────────


def prompt_of(body: bytes) -> bytes:
    """Where a raw body's prompt begins, without taking the body apart: good enough to find its like again."""
    places = [at for key in (b'"messages"', b'"prompt"', b'"input"') if (at := body.find(key)) >= 0]
    return body[min(places) :] if places else b""


def with_slot(path: str, body: bytes, slot: int) -> bytes:
    """A raw body that says which slot to take.

    It is left as it is where that would mean nothing, where it asks for several answers, which would then wait for each
    other, and where it is no object.
    """
    start = body.lstrip()
    if path not in PINNED or not start.startswith(b"{") or SEVERAL.search(body):
        return body
    rest = start[1:].lstrip()
    return b'{"id_slot":%d%s' % (slot, rest if rest.startswith(b"}") else b"," + rest)
