"""The engine `presidio` of the guard `pii`: Microsoft Presidio's analyser in the place of our own recognisers.

Its recognisers are named here one by one, so that what runs is not decided by a configuration of the library. They get
the text's plain forms, as ours do, and all run whatever the language. Presidio by itself downloads; here nothing is
downloaded: words come from spaCy's tokenizer, which has no weights, names from the model that the workflow names, and
the public suffixes of domains from the list that comes with tldextract.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.extras import extra
from sluicegate.policies.guards.checking import Finding
from sluicegate.policies.guards.pii.plain_forms import in_original, plain_forms

__all__ = ["PRESIDIO_ENTITIES", "presidio"]

_RECOGNIZERS: dict[str, tuple[str, ...]] = {
    "email": ("EmailRecognizer",),
    "phone": ("PhoneRecognizer",),
    "credit-card": ("CreditCardRecognizer",),
    "iban": ("IbanRecognizer",),
    "ssn": ("UsSsnRecognizer",),
    "id-number": (
        *("UsPassportRecognizer", "UsLicenseRecognizer", "UsBankRecognizer", "MedicalLicenseRecognizer"),
        *("UkPassportRecognizer", "UkDrivingLicenceRecognizer", "DePassportRecognizer", "DeFuehrerscheinRecognizer"),
        *("EsPassportRecognizer", "ItPassportRecognizer", "ItIdentityCardRecognizer", "ItDriverLicenseRecognizer"),
        "InPassportRecognizer",
    ),
    "ip-address": ("IpRecognizer",),
    "mac-address": ("MacAddressRecognizer",),
    "url": ("UrlRecognizer",),
    "date-time": ("DateRecognizer",),
    "crypto-wallet": ("CryptoRecognizer",),
    "id-de": (
        *("DeTaxIdRecognizer", "DeIdCardRecognizer", "DeSocialSecurityRecognizer", "DeHealthInsuranceRecognizer"),
    ),
    "id-es": ("EsNifRecognizer", "EsNieRecognizer"),
    "id-in": ("InPanRecognizer", "InAadhaarRecognizer"),
    "id-it": ("ItFiscalCodeRecognizer",),
    "id-pl": ("PlPeselRecognizer",),
    "id-uk": ("NhsRecognizer", "UkNinoRecognizer"),
    "id-us": ("UsSsnRecognizer", "UsItinRecognizer"),
}
_NAMES = {"person": "PERSON", "place": "LOCATION", "organization": "ORGANIZATION"}

PRESIDIO_ENTITIES = (*_RECOGNIZERS, *_NAMES)
"""What this engine can find, of what the guard knows."""

_LANGUAGE = "en"
"""The label under which everything is registered, whatever a text's language."""


def presidio(entities: tuple[str, ...], threshold: float, pipeline: Any = None) -> Callable[[str], list[Finding]]:
    """A function from a text to what Presidio finds in it with at least this score; no finding lies within another.

    `pipeline` is the spaCy model that finds names. Raises `PolicyError` SG203 where the extra is not installed.
    """
    with extra("presidio", "the engine presidio of the guard pii", partial(PolicyError, "SG203")):
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
        from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # its debug records have words of the text
    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)
    recognizers: list[Any] = []
    labels: dict[str, str] = {}
    for entity in entities:
        for name in _RECOGNIZERS.get(entity, ()):
            kind: Any = _offline_email() if entity == "email" else getattr(predefined_recognizers, name)
            made: Any = kind(supported_language=_LANGUAGE)
            if not labels.keys() >= set(made.supported_entities):
                recognizers.append(made)
            for one in made.supported_entities:
                labels.setdefault(one, entity)
    names = {_NAMES[entity]: entity for entity in entities if entity in _NAMES}
    if names:
        recognizers.append(predefined_recognizers.SpacyRecognizer(_LANGUAGE, supported_entities=list(names)))
    labels |= names
    nlp: Any = SpacyNlpEngine() if pipeline else _words_engine()
    if pipeline:
        nlp.nlp = {_LANGUAGE: pipeline}
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[_LANGUAGE])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[_LANGUAGE])
    lock = threading.Lock()

    def find(text: str) -> list[Finding]:
        plain, origin = plain_forms(text)
        with lock:
            results = analyzer.analyze(plain, _LANGUAGE, entities=list(labels), score_threshold=threshold)
        taken: list[Finding] = []
        for result in sorted(results, key=lambda one: (-one.score, one.start - one.end)):
            found = Finding(result.start, result.end, labels[result.entity_type])
            if not any(other.start <= found.start and found.end <= other.end for other in taken):
                taken.append(found)
        return in_original(taken, origin)

    return find


def _offline_email() -> Any:
    """Presidio's recogniser of e-mail addresses, whose check of the domain would fetch the list of public suffixes."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())

    class Offline(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bool(extract(pattern_text).fqdn)

    return Offline


def _words_engine() -> Any:
    """Words for the context of a pattern, without a model: each stands for its own lemma."""
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, SlimSpacyNlpEngine

    words: Any = spacy.blank(_LANGUAGE)

    class Words(SlimSpacyNlpEngine):
        def process_text(self, text: str, language: str) -> NlpArtifacts:
            read: list[Any] = list(words(text))
            places, lemmas = [each.idx for each in read], [each.lower_ for each in read]
            tokens: Any = read
            return NlpArtifacts([], tokens, places, lemmas, self, language)

    engine: Any = Words(auto_download=False)
    engine.nlp = {_LANGUAGE: words}
    return engine
