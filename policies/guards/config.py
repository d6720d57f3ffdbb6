"""The config block `guards:`.

Each built-in guard has its own strict settings; a guard that is not listed uses its defaults. Guards of installed
packages are named by their registered name, and their settings are checked by their own model.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sluicegate.errors import nearest
from sluicegate.policies.guards.checking import installed_guards
from sluicegate.policies.guards.pii.presidio import PRESIDIO_ENTITIES
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.state import FailureAction

__all__ = [
    "BannedSettings",
    "CitationSettings",
    "GroundedSettings",
    "GuardConfig",
    "InjectionSettings",
    "LengthSettings",
    "PiiSettings",
    "SchemaSettings",
    "SecretSettings",
    "SlmReviewSettings",
    "ToneSettings",
]

Entity = Literal[
    "email",
    "phone",
    "credit-card",
    "iban",
    "ssn",
    "id-number",
    "ip-address",
    "mac-address",
    "url",
    "date-time",
    "age",
    "zip-code",
    "street-address",
    "crypto-wallet",
    "id-be",
    "id-br",
    "id-cn",
    "id-de",
    "id-es",
    "id-fr",
    "id-in",
    "id-it",
    "id-jp",
    "id-nl",
    "id-pl",
    "id-pt",
    "id-uk",
    "id-us",
    "person",
    "place",
    "organization",
]
"""Every entity type the pii guard knows. Those of a country are its identity, tax and health numbers, by their
checksums (`pip install "sluicegate[ids]"`); the last three need a spaCy model."""

Share = Annotated[float, Field(ge=0, le=1)]


class PiiSettings(GuardSettings):
    """Personal data with a recognisable form. Names and places only with a spaCy model."""

    redacts: ClassVar[bool] = True

    action: FailureAction = "redact"
    """What to ask for when personal data is found."""
    entities: tuple[Entity, ...] = (
        "email",
        "phone",
        "credit-card",
        "iban",
        "ssn",
        "id-number",
        "ip-address",
        "crypto-wallet",
    )
    """Entity types to detect."""
    engine: Literal["patterns", "presidio"] = "patterns"
    """What detects them: the recognisers described in docs/guards.md, or Microsoft Presidio's (`pip install
    "sluicegate[presidio]"`), which know fewer types."""
    score_threshold: Share = 0.4
    """Minimum score of a finding of Presidio's."""
    allow: tuple[str, ...] = ()
    """Texts that are never personal data here, such as the helpdesk's own phone number; letter case is ignored."""
    allow_from_sources: bool = False
    """Keep what occurs verbatim in a retrieved passage, which the person may read anyway."""
    model: str = ""
    """The spaCy model for names and places: ``en-core-web-md`` (`sluicegate models pull en-core-web-md`), an installed
    package or a folder; empty: none."""

    @model_validator(mode="after")
    def _known_to_the_engine(self) -> Self:
        unknown = [entity for entity in self.entities if entity not in PRESIDIO_ENTITIES]
        if self.engine == "presidio" and unknown:
            raise ValueError(f"the engine presidio does not detect {', '.join(unknown)}; the engine patterns does")
        if self.engine != "presidio" and "score_threshold" in self.model_fields_set:
            raise ValueError("score_threshold is the engine presidio's; the engine patterns gives no scores")
        return self

    @model_validator(mode="after")
    def _needs_a_model(self) -> Self:
        named = [entity for entity in self.entities if entity in ("person", "place", "organization")]
        if named and not self.model:
            raise ValueError(f"{', '.join(named)} can only be found with `model`, a spaCy model such as en-core-web-md")
        return self


class SecretSettings(GuardSettings):
    """Credentials: keys of well-known formats, private keys, tokens, passwords in config lines, random values."""

    redacts: ClassVar[bool] = True

    action: FailureAction = "redact"
    """What to ask for when a secret is found."""
    entropy_bits: Annotated[float, Field(ge=2, le=8)] = 4.0
    """Bits per character from which a long value after a word such as `key` counts as random."""
    allow: tuple[str, ...] = ()
    """Values that are no secrets here, such as the ones in the documentation's examples."""


class InjectionSettings(GuardSettings):
    """Attempts to steer the model from within a request or a retrieved passage."""

    threshold: Share | None = None
    """Minimum score of an attack; by default the threshold fitted with the model."""
    model: str | None = None
    """Folder of a model fitted with `sluicegate guard fit injection`, relative to the workflow's folder; by default the
    one that is shipped."""


class GroundedSettings(GuardSettings):
    """Every sentence of the answer supported by a retrieved passage."""

    action: FailureAction = "regenerate"
    """What to ask for when a sentence has no support."""
    support: Share = 0.5
    """Share of a sentence's weighted content words that one passage (or the passages together) must contain."""
    unsupported: Annotated[int, Field(ge=0)] = 0
    """How many sentences may lack support."""


class CitationSettings(GuardSettings):
    """Citation markers that exist and point to a given passage."""

    action: FailureAction = "regenerate"
    """What to ask for when a marker is wrong or missing."""
    required: bool = True
    """An answer from passages must cite at least one of them."""


class ToneSettings(GuardSettings):
    """Tone towards the reader: insults, contempt, shouting, promises the organisation cannot keep."""

    action: FailureAction = "regenerate"
    """What to ask for when the tone is off."""
    promises: bool = True
    """Also fail on guarantees and on legal, medical or financial certainties."""
    exclamations: Annotated[int, Field(ge=0)] = 3
    """How many exclamation marks a text may have."""


class BannedSettings(GuardSettings):
    """Banned content: words, phrases and patterns the workflow lists."""

    redacts: ClassVar[bool] = True

    words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Words and phrases, found as whole words whatever their case, spacing or look-alike letters."""
    patterns: tuple[Annotated[str, Field(min_length=1, max_length=500)], ...] = ()
    """Regular expressions (Python's `re`), matched whatever the letter case."""


class LengthSettings(GuardSettings):
    """Length of a text, and repetition in it."""

    action: FailureAction = "regenerate"
    """What to ask for when the text is too short or too long, or repeats itself."""
    min_chars: Annotated[int, Field(ge=0)] = 1
    """Fewest characters, spaces at the ends not counted."""
    max_chars: Annotated[int, Field(ge=1)] = 8000
    """Most characters."""
    max_sentences: Annotated[int, Field(ge=1)] | None = None
    """Most sentences."""
    max_repeats: Annotated[int, Field(ge=1)] | None = None
    """How often the same sentence may occur in a text. A degenerating small model repeats sentences; so do many logs,
    which is why this is unlimited by default."""


class SchemaSettings(GuardSettings):
    """An answer that must be JSON of a given form."""

    action: FailureAction = "regenerate"
    """What to ask for when the text is not such JSON."""
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = Field(default_factory=dict[str, Any])
    """The JSON Schema (draft 2020-12); references to other files or addresses are not followed. Empty: any JSON."""


class SlmReviewSettings(GuardSettings):
    """A second pass over the draft: is this a proper answer?"""

    engine: Literal["generate", "head"] = "generate"
    """``generate``: the small model is asked, once it has passed its probe. ``head``: one that `sluicegate guard fit
    slm-review` fitted to labelled drafts decides."""
    artifact: str | None = None
    """Folder of the fitted head, relative to the workflow's folder."""
    embedder: str = "embedder"
    """Role of the model that embeds drafts for the head."""

    action: FailureAction = "escalate"
    """What to ask for when the reviewer rejects the text."""
    timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 20_000
    """Time budget of the review."""
    when_not_admitted: Literal["pass", "redact", "regenerate", "escalate", "human", "refuse"] = "pass"
    """What to ask for while the reviewing model has not passed its probe."""

    @model_validator(mode="after")
    def _head_needs_an_artifact(self) -> Self:
        if self.engine == "head" and self.artifact is None:
            raise ValueError("engine 'head' needs an artifact; fit one with `sluicegate guard fit slm-review`")
        return self


class GuardConfig(BaseModel):
    """Settings of the workflow's guards, by the guard's name."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    pii: PiiSettings = PiiSettings()
    """Personal data."""
    secrets: SecretSettings = SecretSettings()
    """Credentials."""
    injection: InjectionSettings = InjectionSettings()
    """Prompt injection."""
    grounded: GroundedSettings = GroundedSettings()
    """Support by the retrieved passages."""
    citations: CitationSettings = CitationSettings()
    """Citation markers."""
    tone: ToneSettings = ToneSettings()
    """Tone towards the reader."""
    banned: BannedSettings = BannedSettings()
    """Content the workflow bans."""
    length: LengthSettings = LengthSettings()
    """Length of the text."""
    schema_: SchemaSettings = Field(default=SchemaSettings(), alias="schema")
    """JSON of a given form."""
    slm_review: SlmReviewSettings = Field(default=SlmReviewSettings(), alias="slm-review")
    """Review by the small model, or by a fitted head."""

    @model_validator(mode="after")
    def _plug_ins_are_known(self) -> Self:
        for name, settings in (self.__pydantic_extra__ or {}).items():
            # built-in guards never get here, so only a workflow that names another one pays for loading packages
            installed = installed_guards()
            if name not in installed:
                built_in = (info.alias or field for field, info in type(self).model_fields.items())
                names = sorted({*built_in, *installed})
                near = nearest(name, names)
                suggestion = f"; did you mean {near!r}?" if near else ""
                raise ValueError(f"unknown guard {name!r}{suggestion} (one of: {', '.join(names)})")
            installed[name].settings.model_validate(settings)
        return self

    def settings(self, name: str, kind: type[GuardSettings]) -> GuardSettings:
        """The settings of one guard: the workflow's, or the defaults of its `kind`."""
        fields = type(self).model_fields
        own = next((field for field, info in fields.items() if (info.alias or field) == name), None)
        if own:
            return getattr(self, own)
        extra: Mapping[str, Any] = self.__pydantic_extra__ or {}
        return kind.model_validate(extra.get(name, {}))
