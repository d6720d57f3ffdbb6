"""The language of a text."""

import pytest

from sluicegate.language import ENOUGH, UNDETERMINED, chances, detect, language_of, probability_of


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Private devices are not allowed in the lab."),
        ("de", "Private Geräte sind im Labor nicht erlaubt."),
        ("fr", "L'imprimante est au troisième étage."),
        ("es", "La contraseña caduca a los noventa días."),
        ("pl", "Hasło wygasa po dziewięćdziesięciu dniach."),
        ("ru", "Личные устройства не разрешены в лаборатории."),
        ("ar", "الطابعة في الطابق الثالث."),
        ("hi", "प्रिंटर तीसरी मंज़िल पर है।"),
        ("zh", "访客不可以在周日进入大楼。"),
        ("ja", "プリンターは三階にあります。"),
        ("ko", "방문자는 일요일에 출입할 수 없습니다."),
    ],
)
def test_a_sentence_is_enough(code: str, text: str) -> None:
    found = detect(text)
    assert found.code == code
    assert found.probability > 0.5


def test_a_regional_variety_does_not_share_a_language_out() -> None:
    # py3langid knows Wu, Cantonese and Moroccan Arabic too, and gives them up to a third of such a line
    assert detect("彩色打印每页二十分。打印机在三楼。").probability > 0.9
    assert detect("الطابعة في الطابق الثالث.").probability > 0.9


@pytest.mark.parametrize("text", ["", "12:30 – 14:00", "😀"])
def test_what_has_no_words_has_no_language(text: str) -> None:
    assert detect(text).code == UNDETERMINED


def test_a_language_is_named_only_where_the_text_leaves_little_doubt() -> None:
    assert language_of("Ich habe auf einen Link in einer Phishing-Mail geklickt.") == "de"
    assert language_of("パスワードを忘れました。") == "ja"
    assert language_of("I am being bullied by my manager") == "en"
    for short in ("vpn", "printer", "password", "pw reset pls", "no internet", "", "12:30"):
        assert language_of(short) == "", short


def test_chances_are_probabilities_of_the_start_of_a_text() -> None:
    found = chances("Give me admin rights on the finance share.")
    assert abs(sum(found.values()) - 1) < 1e-3
    assert probability_of("Give me admin rights on the finance share.", {"en", "de"}) > 0.9
    assert chances("123") == {}
    start = "The printer on the third floor is jammed again. " * (ENOUGH // 48 + 1)
    assert chances(start[:ENOUGH]) == chances(start + "プリンター" * 1000)
