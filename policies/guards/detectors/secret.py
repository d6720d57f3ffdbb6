"""`secrets`: credentials, redacted by default.

Formats are those that the issuers document (and that secret scanners such as detect-secrets and gitleaks list).
Values without a format of their own count only where a config line, a header or a sentence says that they are
secret; after a key-like word the value must look random.
"""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import SecretSettings
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND", "entropy", "find_secrets"]

_FORMATS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (label, literals, re.compile(pattern))
    for label, literals, pattern in (
        (
            "private-key",
            ("private key",),
            (
                r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END (?:[A-Z0-9]+ )*"
                r"PRIVATE KEY(?: BLOCK)?-----|\Z)"
            ),
        ),
        (
            "anthropic-key",
            ("sk-ant-",),
            r"\bsk-ant-[a-z]+\d*-[A-Za-z0-9_-]{20,}",
        ),
        (
            "langfuse-key",
            ("sk-lf-",),
            r"\bsk-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
        ),
        (
            "aws-key",
            ("a3t", "akia", "asia", "abia", "acca"),
            r"\b(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        ),
        (
            "github-token",
            ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
            r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b",
        ),
        (
            "gitlab-token",
            ("glpat-", "gldt-", "glrt-", "glptt-", "glsoat-", "glft-", "glcbt-", "glimt-", "glagent-"),
            r"\bgl(?:pat|dt|rt|ptt|soat|ft|cbt|imt|agent)-[A-Za-z0-9_-]{20,64}",
        ),
        (
            "slack-token",
            ("xox", "xapp-"),
            (
                r"\bxox[abeoprs](?:\.xox[bp])?-(?:\d{1,20}-){0,4}[A-Za-z0-9-]{10,250}\b"
                r"|\bxapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+\b"
            ),
        ),
        (
            "slack-webhook",
            ("hooks.slack.com",),
            r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}",
        ),
        (
            "teams-webhook",
            ("webhook.office.com",),
            r"https://[a-z0-9-]+\.webhook\.office\.com/webhookb2/[a-zA-Z0-9@/-]{40,}",
        ),
        (
            "openai-key",
            ("sk-",),
            r"\bsk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,}(?<!-)\b",
        ),
        (
            "google-key",
            ("aiza", "gocspx-", "ya29."),
            (
                r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])|\bGOCSPX-[A-Za-z0-9_-]{28}"
                r"|\bya29\.[0-9A-Za-z_-]{20,}"
            ),
        ),
        (
            "huggingface-token",
            ("hf_",),
            r"\bhf_[A-Za-z]{30,40}\b",
        ),
        (
            "stripe-key",
            ("sk_", "rk_", "whsec_"),
            r"\b(?:sk|rk|whsec)_(?:live_|test_)?[0-9a-zA-Z]{16,247}\b",
        ),
        (
            "twilio-key",
            ("sk",),
            r"\bSK[0-9a-f]{32}\b",
        ),
        (
            "sendgrid-key",
            ("sg.",),
            r"\bSG\.[\w-]{16,32}\.[\w-]{16,64}\b",
        ),
        (
            "mailgun-key",
            ("key-",),
            r"\bkey-[0-9a-f]{32}\b",
        ),
        (
            "npm-token",
            ("npm_",),
            r"\bnpm_[A-Za-z0-9]{36}\b",
        ),
        (
            "pypi-token",
            ("pypi-",),
            r"\bpypi-[A-Za-z0-9_-]{50,}",
        ),
        (
            "docker-token",
            ("dckr_",),
            r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
        ),
        (
            "digitalocean-token",
            ("_v1_",),
            r"\bdo[opr]_v1_[0-9a-f]{64}\b",
        ),
        (
            "databricks-token",
            ("dapi",),
            r"\bdapi[0-9a-f]{32}(?:-\d)?\b",
        ),
        (
            "shopify-token",
            ("shpat_", "shpca_", "shppa_", "shpss_"),
            r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b",
        ),
        (
            "atlassian-token",
            ("atatt3",),
            r"\bATATT3[A-Za-z0-9_=-]{50,}",
        ),
        (
            "vault-token",
            ("hvb.", "hvs.", "hvr."),
            r"\bhv[bsr]\.[A-Za-z0-9_-]{24,}",
        ),
        (
            "age-key",
            ("age-secret-key-",),
            r"\bAGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}\b",
        ),
        (
            "telegram-token",
            (":aa",),
            r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,34}\b",
        ),
        (
            "azure-key",
            ("key=", "secret=", "sig="),
            (
                r"(?i:\b(?:AccountKey|SharedAccessKey|SharedSecret)=)(?P<azure>[A-Za-z0-9+/]{40,}={0,2})"
                r"|(?<=[?&]sig=)(?P<sas>[A-Za-z0-9%]{40,}(?:%3D|=)?)"
            ),
        ),
        (
            "jwt",
            ("eyj",),
            r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        ),
        (
            "connection-string",
            ("://",),
            (
                r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,64}:(?P<userinfo>[^\s@/\"'<>]{3,128})"
                r"@[^\s\"'<>]+"
            ),
        ),
        (
            "authorization-header",
            ("bearer", "authorization"),
            (
                r"(?i:\b(?:authorization\s*[:=]\s*[\"']?(?:bearer|basic|token)|bearer)\s+)"
                r"(?P<bearer>[A-Za-z0-9+/._~-]{16,}={0,2})"
            ),
        ),
    )
)
"""Label, literals of which the lower-case text must contain one, and pattern; the first match at a place names it."""

_WORD_FOR_IT = r"(?:pass(?:word|wd|phrase|code)?|pwd|contrase(?:ñ|n)a|passwort|kennwort|mot de passe)"
_WORD_FOR_KEY = (
    r"(?:api|access|auth|secret|private|signing|encryption|client|service|master|account|session|refresh"
    r"|bearer|app|bot|webhook|admin|deploy|license)?"
    r"[ _.-]?(?:key|token|secret|credentials?|apikey)(?:[ _-]?(?:id|value|string))?"
)
_ASSIGNED = re.compile(
    rf"(?i)(?<![a-z0-9])(?:[a-z0-9]{{1,20}}[_.-]){{0,4}}(?:(?P<password>{_WORD_FOR_IT})"
    rf"|(?P<key>{_WORD_FOR_KEY}))(?:[_.-][a-z0-9]{{1,20}}){{0,3}}[\"']?\]?"
    r"(?P<link>\s{0,3}(?::=|=>|[:=])\s{0,3}|\s+(?:is|was|are|to|ist|es|est)(?: now| set to| still)?:?\s+)"
    r"(?P<quote>[\"'`]?)(?P<value>(?!\$\{|\{\{|<|\$\(|%\(|\*{3}|…|\.{3}"
    r"|x{4})[^\s\"'`,;<>]{4,200}(?:(?P=quote)|(?=[\s\"'`,;<>]|$)))"
)
_TELLING = ("pass", "pwd", "key", "token", "secret", "credential", "contrase", "kennwort", "auth")
_NOT_A_VALUE = re.compile(
    r"(?i)^(?:true|false|null|none|nil|undefined|required|optional|string|str|int|bool|changeme"
    r"|your[\w-]*|my[_-]?\w*|example\w*|placeholder\w*|redacted|hidden|secret|password|token"
    r"|expired?|invalid|wrong|incorrect|correct|reset|locked|forgotten|missing|empty|unknown|not|the|a|an"
    r"|now|and|or|being|been|still|also|only|too|very|case|case-sensitive|sensitive|stored|set|used"
    r"|needed|valid|weak|strong"
    r"|https?://.*|os\.(?:environ|getenv).*|process\.env.*|env\..*|getenv.*|input.*|self\..*|config\..*"
    r"|settings\..*|[\w.]+\(.*|\$\w+|%\w+%|@\w+|\[.*)[.!?)]*$"
)
_LONG_TOKEN = re.compile(
    r"(?<![\w+/=.-])(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[a-z])"
    r"[A-Za-z0-9+/_-]{32,200}={0,2}(?![\w+/=])"
)
_NEAR_KEY = re.compile(r"(?i)\b(?:key|token|secret|password|credential|auth)\w*\b[^\n]{0,25}$")


def entropy(value: str) -> float:
    """Bits per character of a value's own distribution of characters (Shannon)."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values()) if size else 0.0


def find_secrets(text: str, *, entropy_bits: float) -> list[Finding]:
    """Disjoint findings, in order of place."""
    findings: list[Finding] = []
    for found in _candidates(text, entropy_bits):
        if all(found.end <= other.start or found.start >= other.end for other in findings):
            findings.append(found)
    return sorted(findings)


def _candidates(text: str, entropy_bits: float) -> Iterator[Finding]:
    lower = text.lower()
    for label, literals, pattern in _FORMATS:
        if not any(literal in lower for literal in literals):
            continue
        for found in pattern.finditer(text):
            start, end = found.span(found.lastgroup or 0)
            if _is_real(label, text[start:end]):
                yield Finding(start, end, label)
    if not any(word in lower for word in _TELLING):
        return
    for found in _ASSIGNED.finditer(text):
        start, end = found.span("value")
        if found["quote"]:
            end -= text[start:end].endswith(found["quote"])
        else:
            end = start + len(text[start:end].rstrip(".,;:?)"))
        value = text[start:end]
        # "I forgot my password: what now" is a sentence too
        more = re.match(r"[ \t]+[^\W\d_]", text[found.end() :])
        sentence = not re.search(r"[:=]", found["link"]) or bool(more and ":" in found["link"] and not found["quote"])
        if _NOT_A_VALUE.match(value):
            continue
        if found["password"]:
            if not sentence or _looks_made_up(value):
                yield Finding(start, end, "password")
        elif _looks_random(value, entropy_bits):
            yield Finding(start, end, "key")
    for found in _LONG_TOKEN.finditer(text):
        if entropy(found[0]) >= entropy_bits and _NEAR_KEY.search(text[max(0, found.start() - 40) : found.start()]):
            yield Finding(*found.span(), "key")


def _is_real(label: str, value: str) -> bool:
    if label == "jwt":
        return _is_jwt(value)
    if label == "openai-key":
        # words joined by hyphens begin with sk- too
        return any(c.isdigit() for c in value) and entropy(value) > 3
    if label == "connection-string":
        return not re.fullmatch(r"(?i)\$?\{.*\}|<.*>|\*+|password|pass|pwd|x+|\.+|%[sd]", value)
    return True


def _is_jwt(value: str) -> bool:
    head = value.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header or "typ" in header)


def _looks_made_up(value: str) -> bool:
    """In a sentence, only what is not an ordinary word: with a digit or a sign inside."""
    kinds = [any(map(test, value)) for test in (str.isdigit, str.isupper, str.islower)] + [
        bool(re.search(r"[^\w'’.-]", value))
    ]
    return len(value) >= 6 and sum(kinds) >= 2 and (kinds[0] or kinds[3])


def _looks_random(value: str, entropy_bits: float) -> bool:
    hexadecimal = re.fullmatch(r"[0-9a-fA-F]{24,}", value)
    # hexadecimal digits hold at most 4 bits each
    least = min(entropy_bits, 3.0) if hexadecimal or len(value) < 24 else entropy_bits
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) >= 12 and mixed and entropy(value) >= least


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, SecretSettings)
    allowed = frozenset(settings.allow)

    def check(subject: Subject) -> Verdict:
        found = find_secrets(subject.text, entropy_bits=settings.entropy_bits)
        findings = tuple(f for f in found if subject.text[f.start : f.end] not in allowed)
        if not findings:
            return PASS
        kinds = ", ".join(sorted({found.label for found in findings}))
        return Verdict(passed=False, reason=f"found {len(findings)}: {kinds}", findings=findings)

    return check


KIND = GuardKind(
    name="secrets",
    doc="No keys of well-known formats, private keys, tokens, connection strings, passwords or random values.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=SecretSettings,
    make=_make,
    quick=True,
    by_sentence=True,
    says="It seems to contain a password or a key. Please ask again without it, and change it if it is in use.",
)
