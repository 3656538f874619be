"""Which of several attempts at one job to believe, and whether another is worth its time.

Hard checks come first (an attempt that crashed or met with a complaint is believed only where none did better), then
agreement: attempts that worked on their own and came to the same are seldom wrong, and a small model's certainty says
little. What is compared is what came of them, never code: what the written files hold, as ``probe.results`` digested
it, and the numbers of the answer. Ties go to the earliest, which was the surest.

Knows nothing of workspaces, kernels or models; ``agent`` makes the attempts.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct, field

from allod.interpreter.profiles import Bounds

NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:[,'\u00a0\u202f]\d{3})+|\d+)(?:\.\d+)?(?![\w])")
FINAL = ("stopped", "declined", "question")  # how an attempt ends that leaves nothing to try


class Work(Struct, frozen=True):
    """What came of an attempt. ``files``: path → digest of what it holds, empty for one that is gone."""

    files: dict[str, str] = field(default_factory=dict[str, str])
    answer: str = ""
    printed: str = ""  # by the last block that ran


class Try(Struct, frozen=True):
    """One attempt as it is judged."""

    status: str  # done, failed, limit; stopped, declined, question
    reason: str
    crashed: bool  # its last block failed, or none ran
    ran: bool  # whether any code ran
    work: Work = Work()

    @property
    def good(self) -> bool:
        """Whether nothing was seen to be wrong with it."""
        return self.status == "done"


def more(tries: Sequence[Try], bounds: Bounds, seconds: float, *, asks: bool, agreeing: bool) -> str:
    """Why another attempt is worth its time, for a person; empty where none is.

    Args:
        seconds: that the job took so far.
        asks: whether the job wants an answer, not files alone.
        agreeing: whether attempts should agree; no where a person looked at each block.
    """
    last = tries[-1]
    if last.status in FINAL or len(tries) >= bounds.attempts or seconds > bounds.patience:
        return ""
    good = [each for each in tries if each.good]
    if not good:
        # Two attempts that ran and meet with the same complaint: the complaint is wrong rather than both of them.
        same = [each for each in tries if not each.crashed and each.reason == last.reason]
        return "" if len(same) > 1 else f"that did not do ({last.reason or 'no result'}), so it is tried afresh"
    if not agreeing or not any(each.ran for each in good) or len(groups(good, asks)[0]) >= bounds.agree:
        return ""
    if not last.good:  # it was to confirm and did not even run: the next one would hardly do better
        return ""
    # With as many left to try as could make the difference.
    if len(groups(good, asks)[0]) + bounds.attempts - len(tries) < bounds.agree:
        return ""
    return "it is tried once more, to see whether it comes to the same" if len(good) == 1 else "they differ: once more"


def settled(tries: Sequence[Try], bounds: Bounds, *, asks: bool) -> bool:
    """Whether as many came to the same as have to."""
    good = [each for each in tries if each.good]
    return bool(good) and len(groups(good, asks)[0]) >= bounds.agree


def why(winner: int, tries: Sequence[Try]) -> str:
    """Why that one is taken, for a person."""
    if not tries[winner].good:
        return "none did better"
    same = [each for each in tries if each.good and alike(each.work, tries[winner].work, False)]
    return "another came to the same" if len(same) > 1 else "nothing was seen to be wrong with it"


def chosen(tries: Sequence[Try], *, asks: bool) -> int:
    """Which to believe, by its place.

    Of the largest agreeing group of those that are good, the one that tells most, or else the earliest. Without such,
    the earliest that ran without an error; without such, the last.
    """
    if tries[-1].status in FINAL:
        return len(tries) - 1
    good = [place for place, each in enumerate(tries) if each.good]
    if good:
        group = groups([tries[place] for place in good], asks)[0]
        return good[max(group, key=lambda n: (told(tries[good[n]].work) if asks else 0, -n))]
    return next((place for place, each in enumerate(tries) if not each.crashed), len(tries) - 1)


def told(work: Work) -> int:
    """How many numbers an attempt gave in its answer, and printed; a long table tells no more than a short one."""
    return min(len(numbers(work.answer)), 20) + min(len(numbers(work.printed)), 20)


def groups(tries: Sequence[Try], asks: bool) -> list[list[int]]:
    """The places of those that came to the same, the largest group first, then the earliest."""
    found: list[list[int]] = []
    for place, each in enumerate(tries):
        group = next((g for g in found if alike(tries[g[0]].work, each.work, asks)), None)
        if group is None:
            found.append([place])
        else:
            group.append(place)
    return sorted(found, key=lambda group: (-len(group), group[0]))


def alike(one: Work, other: Work, asks: bool) -> bool:
    """Whether two attempts came to the same: files that hold the same and, where asked for, the same answer."""
    if one.files != other.files:
        return False
    return not asks or same_answer(one, other)


def same_printed(one: Work, other: Work) -> bool:
    """Whether two attempts wrote files that hold the same and printed the same, whatever they made of it in words."""
    return alike(Work(one.files, "", one.printed), Work(other.files, "", other.printed), True)


def same_answer(one: Work, other: Work) -> bool:
    """Whether two answers say the same: by their numbers, else by what was printed.

    An answer may leave out numbers that the other one has, such as the second of two decimals of the list it sums up.
    """
    mine, yours = numbers(one.answer), numbers(other.answer)
    if mine and yours:
        return within(mine, yours) or within(yours, mine)
    printed = [" ".join(work.printed.split()).casefold() for work in (one, other)]
    if printed[0] == printed[1]:
        return True
    mine, yours = numbers(one.printed), numbers(other.printed)
    return bool(mine) and within(mine, yours) and within(yours, mine)


def numbers(text: str) -> list[Decimal]:
    """The numbers in a text, without their signs, each once.

    >>> [str(n) for n in numbers("1,461 days, 3.20 m/s in 2012-01-05, 3, 4 and 4")]
    ['1461', '3.20', '2012', '01', '05', '3', '4']
    """
    return list(dict.fromkeys(Decimal(re.sub(r"[^\d.]", "", match[0])) for match in NUMBER.finditer(text)))


def within(some: list[Decimal], others: list[Decimal]) -> bool:
    """Whether each number is among the others, as far as the one with fewer decimals tells."""
    return all(any(same(one, other) for other in others) for one in some)


def same(one: Decimal, other: Decimal) -> bool:
    """Whether two numbers are one but for rounding."""
    digit = max(int(one.as_tuple().exponent), int(other.as_tuple().exponent), -6)
    return abs(one - other) < Decimal(1).scaleb(digit) if digit < 0 else one == other or one.to_integral() == other
