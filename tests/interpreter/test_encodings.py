"""Old encodings are told apart by the words they make."""

import pytest

from allod.interpreter.probe.encodings import encoding_of

WORDS = {
    "german": "Nummer;Kunde;Ort\n1;Jörg Müller;Düsseldorf\n2;Änne Groß;Köln\n",
    "french": "Numéro;Prénom;Ville\n1;Zoé;Besançon\n2;Noël;Orléans\n",
    "spanish": "año;niño;corazón\n1;España;señal\n",
    "japanese": "商品,在庫,価格\nりんご,12,150\nみかん,30,80\nさくらんぼ,5,900\n",
    "kanji": "地域,売上\n東京,120\n大阪,95\n名古屋,80\nカード,3\n",
    "korean": "상품,가격\n사과,1500\n바나나,900\n",
    "russian": "имя;город\nИван;Москва\nОльга;Санкт-Петербург\n",
    "chinese": "姓名,城市,价格\n王小明,北京,十五元\n李丽,上海,八元\n",
}
CASES = [
    *(("german", name) for name in ("cp1252", "cp850", "mac_roman")),
    *(("french", name) for name in ("cp1252", "cp850", "mac_roman")),
    *(("spanish", name) for name in ("cp1252", "cp850", "mac_roman")),
    *(("japanese", name) for name in ("cp932", "euc_jp")),
    *(("kanji", name) for name in ("cp932", "euc_jp")),
    ("korean", "cp949"),
    *(("russian", name) for name in ("cp1251", "koi8-r")),
    ("chinese", "gb18030"),
    *((words, name) for words in WORDS for name in ("utf-8", "utf-8-sig", "utf-16")),
]


@pytest.mark.parametrize(("words", "encoding"), CASES)
def test_words_come_out_as_they_went_in(words: str, encoding: str) -> None:
    data = WORDS[words].encode(encoding)
    assert data.decode(encoding_of(data)) == WORDS[words]
    assert data.decode(encoding_of(data)) == data.decode(encoding)


@pytest.mark.parametrize("data", [b"", b"plain\n", bytes(range(256)), b"\xff" * 1000, b"\x80", b"a\x00b"])
def test_anything_can_be_read_in_what_is_named(data: bytes) -> None:
    data.decode(encoding_of(data), "replace")


def test_a_sample_may_end_within_a_character() -> None:
    assert encoding_of("Müller, Köln, Zoé".encode()[:-1]) == "utf-8"
    assert encoding_of("りんごとみかん".encode("cp932")[:-1]) == "cp932"
