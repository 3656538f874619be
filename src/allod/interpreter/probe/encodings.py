"""In which encoding a text is, by its bytes. Runs in the job's Python.

UTF-8 shows itself. The old ones do not: any bytes are text in most of them, so the one is taken in which the bytes look
most like words.
"""

SAMPLE = 200_000  # bytes that are looked at
OFTEN, SELDOM = set("éüöäßñçàèáíóú"), set("êâôîûùëïåøæãõœÄÖÜÉÅØ€°–’“”„")
RARELY = set("ìòýÿÈÊËÁÀÂÃÇÑÍÎÓÔÕÚÆŒ§—‘…«»£")


def encoding_of(data: bytes) -> str:
    """A name that Python knows; latin-1, in which anything can be read, where nothing speaks for another."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if data[:3] == b"\xef\xbb\xbf":
        return "utf-8-sig"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return "utf-8" if error.start > len(data) - 4 else best(data[:SAMPLE])  # the data ends within a character
    return "utf-8"


def best(data: bytes) -> str:
    """The encoding in which the characters beyond ASCII look best, the first of equals."""
    found, most = "latin-1", 0.0
    for name, score in SCORES.items():
        text = data.decode(name, "replace")
        beyond = [letter for letter in text if ord(letter) > 127]
        if "\ufffd" in text[:-1]:
            continue
        if beyond and (value := sum(map(score, beyond)) / len(beyond)) > most:
            found, most = name, value
    return found


def western(letter: str) -> float:
    """A letter with an accent, or a mark of print, by how often it is met."""
    return 1.0 if letter in OFTEN else 0.6 if letter in SELDOM else 0.2 if letter in RARELY else -1.0


def japanese(letter: str) -> float:
    """Kana, which Chinese lacks, count most; half-width ones come of bytes that are something else."""
    return 1.0 if "\u3000" <= letter <= "\u30ff" else 0.5 if "\u4e00" <= letter <= "\u9fff" else -1.0


def korean(letter: str) -> float:
    """Hangul; syllables that are in no word speak against."""
    if "\uac00" <= letter <= "\ud7a3":
        return 1.0 if len(letter.encode("euc_kr", "ignore")) == 2 else -0.5
    return -1.0


def chinese(letter: str) -> float:
    """Without kana all characters are Chinese ones, so they count more than in Japanese; rare ones speak against."""
    if "\u4e00" <= letter <= "\u9fff" or "\u3000" <= letter <= "\u303f" or letter in "，。：；？！（）":
        return 0.7 if letter.encode("gb2312", "ignore") else -0.5
    return -1.0


def cyrillic(letter: str) -> float:
    """Small letters: most of a text is."""
    return 0.9 if "а" <= letter <= "я" else 0.4 if "А" <= letter <= "Я" else -1.0


SCORES = {
    "cp1252": western,  # Windows', DOS's, the Mac's: the most common first
    "cp850": western,
    "mac_roman": western,
    "cp932": japanese,
    "euc_jp": japanese,
    "cp949": korean,
    "cp1251": cyrillic,
    "koi8-r": cyrillic,
    "gb18030": chinese,
}
