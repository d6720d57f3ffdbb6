"""National identity, tax and health numbers with checksums, by country; each is an entity of its own that a workflow
asks for.

The checks are `python-stdnum`'s: some thirty numbers, each with rules of its own that change with the law, are better
kept there than here. It is LGPL, which a plain installation is free of: it comes with `pip install "sluicegate[ids]"`.
A number whose only safeguard is one check digit counts where a word says what it is, or in its official grouping.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.extras import extra

__all__ = ["NATIONAL_IDS", "national_ids"]

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Id:
    module: str
    """Of `stdnum`; empty where the form says it all."""
    form: str
    """The number without its separators, in capitals."""
    word: str = ""
    """Words beside it; empty where the number is unmistakable by itself."""
    grouped: str = ""
    """The official grouping, which needs no word."""


_IDS: dict[str, tuple[_Id, ...]] = {
    "id-be": (_Id("be.nn", r"\d{11}", r"rijksregister|registre national|\bnn\b|\bniss\b|\binsz\b",
                  r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d"),),
    "id-br": (_Id("br.cpf", r"\d{11}", r"\bcpf\b", r"\d{3}\.\d{3}\.\d{3}-\d\d"),
              _Id("br.cnpj", r"[0-9A-Z]{12}\d\d", r"\bcnpj\b", r"[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/\d{4}-\d\d")),
    "id-cn": (_Id("cn.ric", r"\d{17}[\dX]"),),
    "id-de": (_Id("de.idnr", r"[1-9]\d{10}", r"steuer|idnr|tax", r"[1-9]\d \d{3} \d{3} \d{3}"),
              _Id("", r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d?", r"ausweis|reisepass|\bpass")),
    "id-es": (_Id("es.nif", r"(?:\d{8}|[XYZKLM]\d{7})[A-Z]"), _Id("es.cif", r"[ABCDEFGHJNPQRSUVW]\d{7}[0-9A-J]",
                                                                  r"\bcif\b|\bnif\b")),
    "id-fr": (_Id("fr.nir", r"[12]\d{5}[\dAB]\d{8}"), _Id("fr.nif", r"[0-3]\d{12}", r"fiscal|\bspi\b|\bnif\b")),
    "id-in": (_Id("in.pan", r"[A-Z]{3}[ABCFGHJKLPT][A-Z]\d{4}[A-Z]"),
              _Id("in.aadhaar", r"[2-9]\d{11}", r"aadhaa?r|\buid(?:ai)?\b|आधार", r"[2-9]\d{3} \d{4} \d{4}")),
    "id-it": (_Id("it.codicefiscale", r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]"),),
    "id-jp": (_Id("jp.in_", r"\d{12}", r"個人番号|マイナンバー|my ?number"),),
    "id-nl": (_Id("nl.bsn", r"\d{9}", r"\bbsn\b|burgerservice|sofi"),
              _Id("nl.identiteitskaartnummer", r"[A-NP-Z]{2}[A-NP-Z0-9]{6}\d", r"identiteitskaart|paspoort")),
    "id-pl": (_Id("pl.pesel", r"\d{11}", r"pesel"),
              _Id("pl.nip", r"\d{10}", r"\bnip\b", r"\d{3}-\d{3}-\d\d-\d\d")),
    "id-pt": (_Id("pt.nif", r"[1235689]\d{8}", r"\bnif\b|contribuinte"),
              _Id("pt.cc", r"\d{9}[0-9A-Z]{2}\d", r"cart[aã]o|cidad[aã]o|\bcc\b", r"\d{8} \d [A-Z0-9]{2}\d")),
    "id-uk": (_Id("", r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]"),
              _Id("gb.nhs", r"\d{10}", r"\bnhs\b"), _Id("gb.utr", r"\d{10}", r"\butr\b|taxpayer")),
    "id-us": (_Id("us.ssn", r"\d{9}", r"\bssn\b|social security", r"\d{3}-\d\d-\d{4}"),
              _Id("us.itin", r"9\d{8}", r"\bitin\b|taxpayer", r"9\d\d-\d\d-\d{4}"),
              _Id("us.ein", r"\d{9}", r"\bein\b|employer id")),
}  # fmt: skip

NATIONAL_IDS = tuple(_IDS)

_GROUP = re.compile(r"[A-Za-z0-9]+")
_SEPARATOR = re.compile(r"[ ./-]")
_MOST_GROUPS = 8


def national_ids(entities: tuple[str, ...]) -> Callable[[str], Iterator[tuple[str, _Span]]]:
    """A function from a text to the numbers of these countries in it, each with its entity.

    Raises `PolicyError` SG203 where the extra is not installed.
    """
    checks = [(entity, one, _validity(one.module)) for entity in entities for one in _IDS[entity]]

    def find(text: str) -> Iterator[tuple[str, _Span]]:
        for start, end in _candidates(text):
            written = text[start:end].upper()
            bare = _SEPARATOR.sub("", written)
            around = text[max(0, start - 40) : start] + " " + text[end : end + 15]
            for entity, one, is_valid in checks:
                if (
                    re.fullmatch(one.form, bare)
                    and is_valid(bare)
                    and (
                        not one.word
                        or re.search(one.word, around, re.IGNORECASE)
                        or (one.grouped and re.fullmatch(one.grouped, written))
                    )
                ):
                    yield entity, (start, end)
                    break

    return find


def _candidates(text: str) -> Iterator[_Span]:
    """Every run of groups of letters and digits that could be a number, the longest from each place first."""
    groups = [found.span() for found in _GROUP.finditer(text)]
    for first, (start, _) in enumerate(groups):
        run = [groups[first]]
        for group in groups[first + 1 : first + _MOST_GROUPS]:
            if not _SEPARATOR.fullmatch(text[run[-1][1] : group[0]]):
                break
            run.append(group)
        for _, end in reversed(run):
            if 8 <= end - start <= 25 and any(character.isdigit() for character in text[start:end]):
                yield start, end


def _validity(module: str) -> Callable[[str], bool]:
    if not module:
        return lambda _number: True
    with extra("ids", "the check of national ids", partial(PolicyError, "SG203")):
        from stdnum import get_cc_module

    country, _, name = module.partition(".")
    checked: Any = get_cc_module(country, name)
    return checked.is_valid
