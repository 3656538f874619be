"""The threads that fetch: each takes the first missing piece, asks for its range, and puts it where it belongs.

What a server may do is handled here: answers without ranges (then one stream reads the whole file in order), redirects
to signed addresses that expire, short or still bodies, 429 and 5xx with Retry-After. What cannot be helped ends the
run.
"""

import random
import re
import threading
import time
from email.utils import parsedate_to_datetime

from allod.egress.answer import Answer, origin
from allod.egress.door import Door, Unconnected
from allod.errors import AllodError, Cancelled, Network, Unreachable
from allod.models.transfer.check import Check, Part
from allod.models.transfer.plan import Plan, Tuning
from allod.models.transfer.space import Run, Space

CHUNK = 512 << 10  # bytes a read at most
HEADWAY = 256 << 10  # bytes that make a try count as one that got somewhere
ENDING = 2.0  # seconds
CRAWL = 64  # bytes a second; less is as good as a stall
TRANSIENT = {408, 421, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 529}
EXPIRED = {400, 401, 403, 404, 410}  # what a signed address answers after its time
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Retry(Exception):
    """A try that failed in a way that another may not. ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0, pushed_back: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.pushed_back = pushed_back


class Piece:
    """A stretch to be fetched; keeps what it has over tries and streams."""

    def __init__(self, part: int, owner: Part, space: Space, start: int, length: int) -> None:
        self.part = part  # index of the part
        self.space = space
        self.start = start  # in the space
        self.length = length
        segment = owner.segment
        self.url = segment.url
        self.remote = segment.start + start - (0 if owner.spool else owner.at)
        self.total = segment.total
        self.share = segment.size / segment.length  # bytes in the blob for one byte here
        self.buffer: bytearray | None = None
        self.got = 0
        self.tries = 0


class Streams:
    """The streams of one run. ``completed`` is in bytes of the blob, of this run."""

    def __init__(self, plan: Plan, pieces: list[Piece], check: Check, door: Door, run: Run, tuning: Tuning) -> None:
        self.plan = plan
        self.check = check
        self.door = door
        self.run = run
        self.tuning = tuning
        self.pending = pieces  # in order
        self._unfinished = len(pieces)
        self._threads: list[threading.Thread] = []
        self._addresses: dict[str, str] = {}  # where redirects lead
        self._in_order: dict[str, threading.Thread] = {}  # files without ranges → the stream that reads them
        self._answered = False  # a host that never was reached is given up after the second try
        self._active = 0
        self._most = tuning.most_streams
        self.completed = 0.0
        self._measured = (time.monotonic(), 0.0)
        self._best = 0.0

    # ── how many ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Starts the first streams."""
        for _ in range(min(self.tuning.streams, self._unfinished)):
            self.add()

    def add(self) -> None:
        """Starts one more stream."""
        with self.run.changed:
            self._active += 1
        thread = threading.Thread(target=self.work, name=f"pull-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Waits for the streams to end after the run has; not for one that is still being connected."""
        end = time.monotonic() + ENDING
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def adapt(self) -> None:
        """Adds a stream as long as the last one made the whole faster by a tenth."""
        now = time.monotonic()
        since, before = self._measured
        if now - since < self.tuning.measure:
            return
        rate = (self.completed - before) / (now - since)
        self._measured = (now, self.completed)
        if rate > 1.1 * self._best:
            self._best = rate
            if 0 < self._active < min(self._most, len(self.pending)):
                self.add()

    # ── which piece ─────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, url: str = "") -> Piece | None:
        """The first piece that this stream may fetch; None when there will be none. Raises Cancelled."""
        me = threading.current_thread()
        with self.run.changed:
            while True:
                self.run.check()
                if self._unfinished == 0:
                    return None
                for i, piece in enumerate(self.pending):
                    if piece.part > self.check.at + 1 and piece.space is not self.check.target:
                        break  # raw bytes are kept only for the part being inflated and the next
                    if (url and piece.url != url) or self._in_order.get(piece.url, me) is not me:
                        continue
                    return self.pending.pop(i)
                if url:
                    return None
                self.run.changed.wait(1.0)

    def put_back(self, piece: Piece) -> None:
        """Leaves a piece to whichever stream comes next."""
        with self.run.changed:
            self.pending.append(piece)
            self.pending.sort(key=lambda p: (p.part, p.start))
            self.run.changed.notify_all()

    def finish(self, piece: Piece) -> None:
        """Puts a full piece in its place."""
        assert piece.buffer is not None
        piece.space.put(piece.start, piece.buffer, piece.length)
        piece.buffer = None
        with self.run.changed:
            self._unfinished -= 1
            self.run.changed.notify_all()

    # ── a stream ────────────────────────────────────────────────────────────────────────────────────────────────────

    def work(self) -> None:
        """The body of a stream's thread."""
        try:
            while (piece := self.take()) and self.fetch(piece):
                pass
        except Cancelled:
            self.run.announce()
        except AllodError as error:
            self.run.fail(error)
        except BaseException as error:  # noqa: BLE001 - a bug must end the run, and be seen in the thread that waits
            self.run.fail(error)
        finally:
            with self.run.changed:
                me = threading.current_thread()
                self._in_order = {url: reader for url, reader in self._in_order.items() if reader is not me}
                self.run.changed.notify_all()

    def fetch(self, piece: Piece) -> bool:
        """Fetches a piece, trying again as often as it makes sense; or gives it back to the others.

        Returns:
            Whether this stream should go on.

        Raises:
            Network: this source cannot give it.
            Cancelled, DiskFull, ReadOnly, Disk, Offline, Refused.
        """
        while True:
            before = piece.got
            try:
                with self.ask(piece) as answer:
                    if answer.status == 200:
                        self.put_back(piece)
                        self.read_in_order(piece.url, answer)
                        return True
                    self.fill(piece, answer)
                self.finish(piece)
                return True
            except Unreachable as error:
                if isinstance(error, Unconnected) and not self._answered and piece.tries:
                    raise
                self.wait(piece, Retry(error.message), before)
            except Retry as retry:
                if retry.pushed_back:
                    self._most = self._active  # no more than there are
                self.wait(piece, retry, before)
                if retry.pushed_back and self.retire():
                    self.put_back(piece)
                    return False

    def read_in_order(self, url: str, answer: Answer) -> None:
        """Fills the pieces of a file from an answer that begins at its first byte: its server knows no ranges."""
        me = threading.current_thread()
        with self.run.changed:
            if self._in_order.setdefault(url, me) is not me:  # another stream reads it already
                return
        position = 0
        while piece := self.take(url):
            before = piece.got
            if piece.remote + piece.got < position:  # one that another stream gave back
                self.put_back(piece)
                return
            try:
                skip(answer, piece.remote + piece.got - position)
                self.fill(piece, answer)
            except (Unreachable, Retry) as error:
                self.put_back(piece)
                self.wait(piece, error if isinstance(error, Retry) else Retry(error.message), before)
                return
            position = piece.remote + piece.length
            self.finish(piece)

    def wait(self, piece: Piece, retry: Retry, before: int) -> None:
        """Waits until a piece may be tried again. Raises Network after too many tries, Cancelled."""
        piece.tries = 1 if piece.got - before >= HEADWAY else piece.tries + 1
        host = origin(piece.url)[1]
        if piece.tries >= self.tuning.tries:
            raise Network(f"{host} failed {piece.tries} times in a row: {retry.reason}")
        if retry.wait > self.tuning.longest_wait:
            raise Network(f"{retry.reason} and asks to come back in {retry.wait:.0f} s")
        backoff = min(self.tuning.backoff * 2 ** (piece.tries - 1), self.tuning.longest_wait)
        self.run.wait(max(retry.wait, backoff * random.uniform(0.5, 1.0)))

    def retire(self) -> bool:
        """Whether this stream should end, as the server wants fewer; one stays. No more are added."""
        with self.run.changed:
            if self._active == 1:
                return False
            self._active -= 1
            self._most = self._active
            return True

    def ask(self, piece: Piece) -> Answer:
        """Asks for what is missing of a piece; the answer is 206 for just that, or 200 for the whole file.

        Raises:
            Retry, Unreachable: it may work later.
            Network: it will not.
        """
        first, last = piece.remote + piece.got, piece.remote + piece.length - 1
        host = origin(piece.url)[1]
        renewed = False
        while True:
            url = self._addresses.get(piece.url, piece.url)
            headers = self.plan.auth.headers(url) if self.plan.auth else {}
            answer = self.door.open(url, {**headers, "Range": f"bytes={first}-{last}"})
            self._answered = True
            if answer.status in (200, 206):
                if answer.url != piece.url:
                    self._addresses[piece.url] = answer.url
                check_answer(answer, piece, first, last)
                return answer
            with answer:
                if url != piece.url and answer.status in EXPIRED:
                    self._addresses.pop(piece.url, None)
                elif answer.status == 401 and not renewed and self.renew(url, headers, answer):
                    renewed = True
                elif answer.status in TRANSIENT:
                    raise Retry(f"{host} answered {answer.status}", retry_after(answer), answer.status in (429, 503))
                elif answer.status == 416:
                    raise Network(f"{host} has no bytes {first}-{last} of {piece.url}: it is shorter than announced")
                else:
                    raise Network(f"{host} answered {answer.status} for {piece.url}")

    def renew(self, url: str, used: dict[str, str], answer: Answer) -> bool:
        """Whether there are other credentials than those that were answered 401, perhaps by another stream's doing."""
        auth = self.plan.auth
        return auth is not None and (auth.headers(url) != used or auth.renew(answer))

    def fill(self, piece: Piece, answer: Answer) -> None:
        """Reads what is missing of a piece. Raises Retry where it stays short, Unreachable, Cancelled."""
        if piece.buffer is None:
            piece.buffer = self.run.buffer()
        room = memoryview(piece.buffer)[: piece.length]
        since, mark = time.monotonic(), piece.got
        while piece.got < piece.length:
            count = answer.read_into(room[piece.got : piece.got + CHUNK])
            if not count:
                raise Retry(f"{origin(answer.url)[1]} sent {piece.got} of {piece.length} bytes")
            piece.got += count
            with self.run.changed:
                self.completed += count * piece.share
            self.run.check()
            now = time.monotonic()
            if now - since > self.tuning.stall:
                if piece.got - mark < CRAWL * (now - since):
                    raise Retry(f"{origin(answer.url)[1]} sent {piece.got - mark} bytes in {now - since:.0f} s")
                since, mark = now, piece.got


def skip(answer: Answer, count: int) -> None:
    """Reads ``count`` bytes for nothing. Raises Retry where there are fewer, Unreachable, Cancelled."""
    while count:
        data = answer.read(min(CHUNK, count))
        if not data:
            raise Retry(f"{origin(answer.url)[1]} sent too few bytes")
        count -= len(data)


def check_answer(answer: Answer, piece: Piece, first: int, last: int) -> None:
    """Returns where an answer is about the bytes that were asked for. Raises Network, with the answer closed."""
    host = origin(answer.url)[1]
    wrong = ""
    if answer.header("content-encoding") not in ("", "identity"):
        wrong = f"{host} encodes its files ({answer.header('content-encoding')[:40]}), which was not asked for"
    elif answer.status == 206:
        found = CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
        if not found or int(found[1]) != first or not first <= int(found[2]) <= last:
            wrong = f"{host} sent {answer.header('content-range')[:80] or 'no range'} instead of bytes {first}-{last}"
        elif piece.total and found[3] != "*" and int(found[3]) != piece.total:
            wrong = f"{host} says that the file has {found[3]} bytes instead of {piece.total}"
    elif piece.total and answer.length is not None and answer.length != piece.total:
        wrong = f"{host} says that the file has {answer.length} bytes instead of {piece.total}"
    if wrong:
        answer.close()
        raise Network(wrong)


def retry_after(answer: Answer) -> float:
    """Seconds that a server asks to wait; 0 where it does not say."""
    value = answer.header("retry-after").strip()
    if value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
