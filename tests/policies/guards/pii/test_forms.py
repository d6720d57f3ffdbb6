"""Personal data in the writings of Unicode and of many countries, numbers that look like it, and national ids."""

import re
import sys
from importlib import resources

import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import Helpers, Subject, Verdict
from sluicegate.policies.guards.config import PiiSettings
from sluicegate.policies.guards.pii import national_ids as ids
from sluicegate.policies.guards.pii.pii import KIND
from sluicegate.policies.guards.pii.plain_forms import plain_forms
from sluicegate.policies.guards.pii.recognizers import IBAN_LENGTHS, recognise
from tests.support.pii_forms import rows

USUAL = PiiSettings().entities


@pytest.mark.slow
@pytest.mark.parametrize("part", ["in_view", "apart"])
def test_generated_forms_are_found_whole_and_look_alikes_are_not(part: str) -> None:
    found = wanted = whole = wrong = 0
    for row in rows(part, 1000, seed=3):
        findings = recognise(row.text, USUAL)
        right = [one for one in findings if row.kind and one.label == row.kind]
        wanted += bool(row.kind)
        found += bool(right)
        whole += any(one.start <= row.start and row.end <= one.end for one in right)
        wrong += len(findings) - len(right)
    assert found / wanted >= 0.99
    assert whole == found
    assert found / (found + wrong) >= 0.99


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("IBAN：ＤＥ８９３７０４００４４０５３２０１３０００です", "ＤＥ８９３７０４００４４０５３２０１３０００"),
        ("call +49\u2011170\u20111234567 now", "+49\u2011170\u20111234567"),
        ("رقمي هو ٠٥٠١٢٣٤٥٦٧", "٠٥٠١٢٣٤٥٦٧"),
        ("card 41\u200b11 1111\u00a01111 1111!", "41\u200b11 1111\u00a01111 1111"),
        ("我的邮箱zhang@example.cn谢谢", "zhang@example.cn"),
        ("ﬁx: ann＠firma．de", "ann＠firma．de"),
        ("card 4111\t1111\t1111\t1111!", "4111\t1111\t1111\t1111"),
        ("My card is 4111 1111\n1111 1111, please charge it", "4111 1111\n1111 1111"),
        ("IBAN: GB29 NWBK 6016\n1331 9268 19 (new)", "GB29 NWBK 6016\n1331 9268 19"),
        ("IBAN DE 89 3704 0044 0532 0130 00", "DE 89 3704 0044 0532 0130 00"),
        ("votre RIB: FR14 20041 01005 0500013M026 06.", "FR14 20041 01005 0500013M026 06"),
        ("conto IT60 X 05428 11101 000000123456", "IT60 X 05428 11101 000000123456"),
        ("cuenta ES91 2100 0418 45 0200051332", "ES91 2100 0418 45 0200051332"),
        ("room KB12 and DE89370400440532013000", "DE89370400440532013000"),
        ("Please mail lena at example dot com today", "lena at example dot com"),
        ("Schreib an peter dot pan at insel dot nimmer dot de bitte", "peter dot pan at insel dot nimmer dot de"),
        ("login from ::ffff:93.184.216.34 at noon", "::ffff:93.184.216.34"),
    ],
)
def test_what_is_found_is_placed_in_the_original(text: str, value: str) -> None:
    (finding,) = recognise(text, USUAL)
    assert text[finding.start : finding.end] == value


@pytest.mark.parametrize(
    "text",
    [
        "look at this dot com boom",
        "Mail me the plot: meet at noon dot matrix printer",
        "DE12 and so on the train goes to the north of it",
        "columns:\n4111 1111\n1111 1112\n1111 1113",
        "listen on ::1 and route 2001:db8::/32",
        "from 10.0.0.0/8 to fd00::/8",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert recognise(text, USUAL) == []


def test_plain_forms_keep_letters_and_superscripts() -> None:
    text = "Größe 5² — ①"
    assert plain_forms(text)[0] == "Größe 5² - ①"
    assert plain_forms("plain") == ("plain", None)


@pytest.mark.parametrize(
    "text",
    [
        "0800 123 4567",
        "lat 0300 123 4567 gb",
        "numéro de dossier 612345678",
        "Rechnungsnummer 01701234567",
        "EAN 4011678262000",
    ],
)
def test_service_numbers_and_numbers_of_other_things_are_no_telephones(text: str) -> None:
    assert recognise(text, USUAL) == []


def test_the_lengths_are_those_of_the_registry() -> None:
    """`python-stdnum` keeps a copy of it."""
    listed = resources.files("stdnum").joinpath("iban.dat").read_text()
    structures = re.findall(r'(?m)^([A-Z]{2}) .*bban="([^"]*)"', listed)
    assert len(structures) > 80
    lengths = {country: 4 + sum(map(int, re.findall(r"(\d+)!", bban))) for country, bban in structures}
    assert {country: IBAN_LENGTHS.get(country) for country in lengths} == lengths


NATIONAL = [
    ("id-be", "rijksregister 85.07.30-033.28", "85.07.30-033.28"),
    ("id-br", "CPF 390.533.447-05", "390.533.447-05"),
    ("id-cn", "身份证号11010519491231002X", "11010519491231002X"),
    ("id-de", "Steuer-ID 65 929 970 489", "65 929 970 489"),
    ("id-de", "Personalausweisnummer L01X00T47", "L01X00T47"),
    ("id-es", "Mi DNI es 12345678Z", "12345678Z"),
    ("id-fr", "1 84 12 76 451 089 46", "1 84 12 76 451 089 46"),
    ("id-in", "Aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("id-it", "RSSMRA85T10A562S", "RSSMRA85T10A562S"),
    ("id-jp", "マイナンバー 1234 5678 9018", "1234 5678 9018"),
    ("id-nl", "BSN 111222333", "111222333"),
    ("id-pl", "PESEL 44051401359", "44051401359"),
    ("id-pt", "NIF 123456789", "123456789"),
    ("id-uk", "NINO AB 12 34 56 C", "AB 12 34 56 C"),
    ("id-us", "SSN 536-22-1234", "536-22-1234"),
]


def checked(text: str, *entities: str) -> Verdict:
    verdict = KIND.make(PiiSettings(entities=entities), Helpers())(Subject(text, "request"))  # type: ignore[arg-type]
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(("entity", "text", "value"), NATIONAL)
def test_national_ids_are_found_where_they_are_asked_for(entity: str, text: str, value: str) -> None:
    (finding,) = checked(text, entity).findings
    assert (finding.label, text[finding.start : finding.end]) == (entity, value)
    assert checked(text, "email").passed


def test_every_country_has_a_case() -> None:
    assert {entity for entity, _, _ in NATIONAL} == set(ids.NATIONAL_IDS)


@pytest.mark.parametrize(
    "text",
    [
        "DNI 12345678A",
        "Steuer-ID 65929970488",
        "RSSMRA85T10A562T",
        "BSN 111222334",
        "order 111222333",
        "ref 1234 5678 9018",
    ],
)
def test_a_wrong_checksum_or_a_bare_number_is_none(text: str) -> None:
    assert checked(text, *ids.NATIONAL_IDS).passed


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stdnum", None)
    with pytest.raises(PolicyError, match=r"pip install 'sluicegate\[ids\]'"):
        ids.national_ids(("id-de",))
