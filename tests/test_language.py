"""The language of a text."""

import pytest

from sluicegate.language import UNDETERMINED, detect


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
