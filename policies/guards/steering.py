"""What in a text tries to steer the model: named features for the linear classifier of `injection`.

A feature is a pair of concepts close together in one sentence (a verb that sets rules aside and a word for rules), or
a single telling phrase. Each is counted twice: where the text speaks for itself, and where it is only quoted. A
document about attacks quotes them; an attack gives orders. Concepts are stems in English, French, German, Spanish,
Italian and Portuguese; squeezed readings (see `disguises`) are searched with the squeezed stems.
"""

import re
from dataclasses import dataclass
from functools import cache

from sluicegate.policies.guards.disguises import Reading, squeeze

__all__ = ["FEATURES", "features"]

_CONCEPTS: dict[str, str] = {
    "override": (
        "ignor*|disregard*|forget|forgets|overrid*|overrul*|bypass*|circumvent*|neglect your|pay no attention|do not follow|don't follow|"
        "stop following|no longer follow|never mind|do not obey|don't obey|stop obeying|discard*|abandon*|supersed*|set aside|throw away|"
        "erase your|replace your|rewrite your|cancel your|void*|nullif*|suspend*|disable*|turn off|deactivat*|switch off|remove your|skip*|"
        "evade*|violat*|break your|drop your|unlearn*|ignorez|oublie*|contourn*|ne tiens pas compte|ne tenez pas compte|desactiv*|remplac*|"
        "ignorier*|vergiss*|vergesst|missacht*|umgeh*|deaktivier*|olvid*|omite|omita|ignora*|dimentica*|tralascia*|esquec*|desconsider*"
    ),
    "rules": (
        "instruction*|rule|rules|guideline*|directive*|directions|constraint*|restriction*|safeguard*|guardrail*|safety|system prompt*|"
        "system message*|your prompt|initial prompt|original prompt|previous prompt*|programming|your training|polic*|content filter*|filters|"
        "prior context|previous context|above context|everything above|text above|everything before|all previous|all prior|what you were told|"
        "previous messages|prior messages|earlier messages|earlier orders|orders|protocol*|limitations|your limits|protections|security control*|"
        "security check*|approval*|confirmation*|authorization|authorisation|permission check*|access control*|human review|validation|"
        "moderation|logging|audit*|monitoring|sandbox*|consigne*|regle*|politique*|instruccion*|regla*|anweisung*|regeln|richtlinie*|"
        "istruzion*|regole|instruc*|regras|vorgaben|directrices"
    ),
    "reveal": (
        "reveal*|show|print|display*|output*|repeat*|dump*|disclos*|leak*|expos*|tell me|list|share|recite|echo|give me|copy|append|include*|"
        "return|write out|write down|export*|what is your|what are your|what's your|quote your|translate your|summarize your|summarise your|"
        "spell out|paste|read out|read back|extract*|surface|provide|attach*|embed*|encode*|describe your|affich*|revel*|montre*|copie*|divulg*|"
        "donne*|imprim*|muestr*|mostra*|zeig*|verrat*|gib|gebe|dime|rivela*|stampa*|elenca*"
    ),
    "private": (
        "system prompt*|system message*|system instruction*|developer message*|developer prompt*|hidden prompt*|initial prompt|original prompt|"
        "hidden instruction*|internal instruction*|your instructions|your prompt|initial instructions|original instructions|your rules|"
        "private rule*|internal rule*|internal polic*|hidden rule*|hidden polic*|hidden context|system context|secret|secrets|secret-*|api key*|"
        "apikey*|access key*|private key*|signing key*|encryption key*|credential*|password*|access token*|auth token*|session token*|bearer token*|"
        "tokens|canary|sys-canary*|confidential*|chain of thought|chain-of-thought|hidden reasoning|internal reasoning|environment variable*|"
        "env var*|env file|internal notes|internal memo*|internal config*|system config*|configuration secrets|tool schema*|function definitions|"
        "invite systeme|prompt systeme|message systeme|regles privees|instructions cachees|identifiants|mots de passe|mot de passe|"
        "indicaciones del sistema|mensaje del sistema|contrasena*|credencial*|secreto*|systemprompt*|system-prompt*|systemnachricht*|passwort*|"
        "passworter*|zugangsdaten|geheimnis*|segreti|segredo*|senha*"
    ),
    "send": (
        "send|sends|email|mail|post|upload*|forward*|transmit*|exfiltrat*|transfer*|submit*|load|fetch|visit|request|render*|ping|curl|wget|"
        "copy|leak*|deliver|relay|write|publish|report|include*|append*|embed*|stream|sync|dump|move|encode*|smuggl*|insert|add|navigate|open|"
        "envoye*|envoi|charge*|transmet*|televerse*|publie*|ajoute*|envia*|manda*|sube|carga|sende*|schick*|ubermittle*|lade|invia*|carica*|envie"
    ),
    "outside": (
        "attacker*|evil*|hacker*|adversar*|exfil*|external server*|external address*|external url*|external site*|external endpoint*|"
        "external host*|external account*|outside server|remote server|third party|third-party|my server|my email|my inbox|my webhook|webhook*|"
        "pastebin*|ngrok*|requestbin*|burp*|collaborator*|drop box|unknown address|*.invalid|*.evil|http|https|serveur externe|adresse externe|"
        "servidor externo|externen server|externe adresse|server esterno|query string|query parameter*|url parameter*|image url|image link|markdown image|"
        "tracking pixel|pixel|hidden link|hidden image|beacon"
    ),
    "data": (
        "data|database*|customer*|client list|email*|record*|secret*|credential*|password*|token*|key|keys|conversation*|chat history|message history|"
        "history|contents|document*|file|files|memory|context|contact*|payroll|salar*|invoice*|account numbers|personal*|user list|session*|cookie*|"
        "log|logs|prompt|canary|donnees|clients|valeur|datos|clientes|daten|kundendaten|dati|dados"
    ),
    "run": (
        "call*|invok*|execut*|run|runs|use|trigger*|launch*|perform*|start|issue|fire|utilis*|appel*|lance*|ejecut*|llama a|usa|ausfuhr*|fuhre|"
        "ruf|nutze|verwende|chiama*|esegui*|execute*|chame|delete*|drop|wipe|erase*|destroy*|grant*|transfer*|approve*|escalat*|install*|download*|disable*"
    ),
    "dangerous": (
        "*_*|rm -rf|shell|bash|powershell|terminal|sudo|sql|drop table|eval|subprocess|os.system|admin tool*|admin function*|admin command*|"
        "admin action*|privileged tool*|privileged action*|tool call*|all tools|every tool|the tool|l'outil|les outils|outil*|payment*|wire transfer|funds|"
        "money|refund*|all records|every record|all files|every file|all users|all data|the database|database*|backup*|production|arbitrary code|"
        "code execution|malicious*|payload*|malware|backdoor*|herramienta*|werkzeug*|strumento|ferramenta*|unrestricted|permission*|privilege*"
    ),
    "unasked": (
        "without asking|without approval|without confirm*|without authoriz*|without permission|without review|without checking|without verif*|without telling|"
        "without informing|without notifying|without logging|without the user|without mention*|no approval|no confirmation|no questions|do not ask|don't ask|"
        "do not tell|don't tell|do not mention|don't mention|do not inform|do not notify|never tell|never mention|silently|secretly|quietly|covertly|"
        "behind the scenes|hide this|keep this hidden|sans demander|sans approbation|sans confirmation|sans le dire|sin preguntar|sin confirm*|ohne zu fragen|"
        "ohne bestatigung|ohne genehmigung|senza chiedere|sem perguntar|automatically approve|auto-approve|autoapprove|skip approval|skip confirmation|"
        "pre-approved|preapproved|already approved|already authorized"
    ),
    "approve": "approve*|authoriz*|authoris*|accept*|confirm*|allow*|permit*|whitelist*|allowlist*|unlock*|grant*|trust|approuv*|autoris*|aprueb*|autoriza*|genehmig*|approva*|aprove*",
    "calls": (
        "tool call*|tool use|tool request*|next tool|all tool*|pending tool*|every tool*|tools|function call*|pending request*|all request*|every request*|"
        "all action*|every action*|pending action*|transaction*|all transfers|any request*|any command*|all commands|all operations|all permissions|outils|"
        "herramientas|werkzeuge|werkzeugaufruf*|strumenti|ferramentas|payment*|withdrawal*"
    ),
    "remember": (
        "remember*|memoriz*|memoris*|store|save|persist*|permanently|for all future|all future|future session*|future conversation*|future request*|"
        "future user*|from now on|always|long-term memory|your memory|in memory|to memory|keep in mind|learn that|update your|write to memory|add to memory|"
        "never forget|every session|going forward|henceforth|de maintenant|desormais|toujours|retene*|retien*|recuerd*|siempre|merke*|merk dir|immer|"
        "dauerhaft|ricorda*|sempre|lembre*"
    ),
    "privilege": (
        "administrator*|admin|admins|root|superuser*|super user|super-user|sudo|elevated|full access|unrestricted|unlimited access|privileg*|owner access|"
        "god mode|trusted user|trusted source|trusted sender|trusted operator|verified user|verified admin|always trusted|system owner|security officer|"
        "exempt*|whitelisted|allowlisted|pre-approved|bypass*|no restrictions|without restrictions|no limits|no verification|no approval|all permissions|"
        "administrateur*|administrador*|vertrauenswurdig*|amministratore*|auto-approve*"
    ),
    "foreign": (
        "tenant b|tenant c|other tenant*|another tenant*|different tenant*|cross-tenant|cross tenant|all tenants|every tenant|tenant's|other customer*|"
        "another customer*|different customer*|other user|other user's|other users|another user*|different user*|someone else*|another account*|"
        "other account*|another company*|another organization*|another organisation*|different organization*|other organization*|another department*|"
        "another client*|other client*|other workspace*|another workspace*|competitor*|another patient*|other patient*|another employee*|other employee*|"
        "neighboring tenant*|neighbouring tenant*|all customers|all users|every customer|every user|every user's|autre locataire|autres locataires|autre client|"
        "autre utilisateur|autres clients|otro inquilino|otro cliente|otro usuario|anderen mandanten|anderer mandant*|anderer kunden|anderen kunden|"
        "altro utente|altro cliente|outro cliente|outro usuario|outside your scope|outside my scope|not assigned to me|i am not authorized"
    ),
    "access": (
        "fetch*|access*|read|show|list|export*|query|retrieve*|open|switch to|give me|view|return|display*|dump*|get|pull|load|search|look up|lookup|"
        "download*|include*|merge*|join|combine|compare|copy|reveal*|print|impersonat*|act as|acced*|affich*|montre*|recuper*|muestr*|obten*|zeig*|"
        "ruf*|offne|mostra*|accedi*|mostre|acesse*|summarize|summarise"
    ),
    "persona": (
        "you are now|you're now|developer mode|dev mode|debug mode|maintenance mode|god mode|admin mode|root mode|dan mode|jailbreak*|do anything now|"
        "no restrictions|without restrictions|no limitations|without limitations|no filter*|unfiltered|uncensored|unrestricted|no rules|without rules|"
        "no longer bound|not bound by|no ethical|without ethical|pretend you have no|pretend to have no|pretend that you|evil twin|opposite mode|"
        "act as dan|act as an unrestricted|you have no restrictions|you are free|you have been freed|simulate a|role-play as|roleplay as|new persona|"
        "vous etes maintenant|tu es maintenant|vous etes administrateur|sans restriction*|eres ahora|ahora eres|sin restricciones|du bist jetzt|"
        "ohne einschrankungen|sei ora|senza restrizioni|voce e agora|sem restricoes|mode developpeur|modo desarrollador|entwicklermodus"
    ),
    "new-orders": (
        "new instruction*|updated instruction*|real instruction*|actual instruction*|true instruction*|following instruction*|these instructions|"
        "new directive*|new task|new rule*|new system prompt|new system message|new priority|highest priority|priority override|system override|"
        "admin override|your new goal|your real goal|your true purpose|instead do|obey me|obey the|obey only|follow only|only follow|only obey|must obey|"
        "follow my|follow this|comply with|nouvelle consigne|nouvelles instructions|nouvelle instruction|nuevas instrucciones|neue anweisung*|"
        "neue instruktion*|nuove istruzioni|novas instrucoes|treat this as|takes precedence|take precedence|supersede*"
    ),
    "told-model": (
        "the assistant must|the assistant should|assistant must|assistant should|the model must|the model should|the ai must|the ai should|ai agent must|"
        "agent must|the agent should|agents must|ai assistants must|ai agents reading|any ai|llm must|note to ai|note to assistant|note to the assistant|"
        "attention ai|message to the assistant|dear assistant|hey assistant|if you are an ai|if you are a language model|when summarizing this|"
        "when you summarize|when reading this|when processing this|l'assistant doit|le modele doit|el asistente debe|der assistent muss|"
        "l'assistente deve|o assistente deve|the summarizer must|the summarizer should|whoever reads this"
    ),
}  # fmt: skip

_PAIRS = (
    ("override", "rules"), ("reveal", "private"), ("send", "outside"), ("outside", "data"), ("run", "dangerous"), ("approve", "calls"),
    ("remember", "privilege"), ("access", "foreign"), ("send", "private"), ("told-model", "rules"), ("told-model", "data"), ("run", "unasked"),
    ("remember", "override"), ("new-orders", "rules"),
)  # fmt: skip
_SINGLE = (
    "override",
    "private",
    "outside",
    "dangerous",
    "unasked",
    "privilege",
    "foreign",
    "persona",
    "new-orders",
    "told-model",
    "calls",
)

_ROLE_MARKER = re.compile(
    r"(?:^|[\n>\]\"'.;:-]\s*|\s)(?:system|assistant|developer|sys|admin|systeme|sistema|root)\s?(?:message|prompt|note|override|update|alert|instruction)?\s?:\s*\S"
    r"|<\|?/?(?:system|im_start|im_end|assistant|endoftext|instructions?|admin)\b|\[/?(?:inst|system|admin|tool[ _](?:output|result|response))\]|<<sys>>|#{2,}\s*(?:system|instruction|new instruction|override|response)"
    r"|<!--|end of (?:user|document|context|input|system|prompt)|begin (?:system|admin|override|new)|tool[ _](?:output|result|response)\s?:|\bresultat\s?:|\"role\"\s?:\s?\"(?:system|assistant|developer)"
)
_EXFILTRATION = re.compile(
    r"!\[[^\]]{0,80}\]\(\s*(?:https?:)?//|<img[^>]{0,80}src|https?://[^\s\"'<>]{0,120}[?&][\w-]{1,20}=\S{0,80}(?:canary|secret|\{|token|data|prompt|sys|leak|key)|https?://[^\s\"'<>]{0,60}[?&](?:d|q|data|leak|secret|exfil|c|x|p|payload)="
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_ABOUT = re.compile(
    r"\b(?:quot(?:e|es|ed|ing)|example|examples|exemple|documentation|docs|article|paper|report|benchmark|detectors?|training|note|slide|lesson|fixture|tests?|explain\w*|describ\w*"
    r"|phrases?|patterns?|samples?|changelog|release notes|readme|guide|guidance|blog|module|analysts?|threats?|attack|attacks|red-team|corpora|dataset|transcript|untrusted|owasp|ncsc"
    r"|classif\w*|flag|flagged|flags|detect\w*|blocked|refus\w*|discuss\w*|stud(?:y|ies)|awareness|learners|students|postmortem|policy|literal|string|documented|defen[sc]es?|regression|rule|lists?"
    r"|mention\w*|research\w*|literature|taxonomy|illustrat\w*|demonstrat\w*|unsafe|malicious|suspicious|injection|jailbreak\w*|coverage|false positives?|snapshot|annotate|exercise|quiz|workshop|teaches|course)\b"
)
_QUOTED = re.compile(
    r"\"[^\"\n]{3,400}\"|(?<!\w)'[^'\n]{3,400}'(?!\w)|“[^”\n]{3,400}”|«[^»\n]{3,400}»|`[^`\n]{3,400}`|‘[^’\n]{3,400}’"
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+|\|")
_LABEL_TAIL = re.compile(r"\b(?:[0-9a-f]{16,}|[a-z]{2,6}\d?-[a-z]-\d{3,})\b")
_WINDOW = 90
_SQUEEZED_WINDOW = 60


@dataclass(frozen=True, slots=True)
class _Concept:
    plain: re.Pattern[str]
    squeezed: re.Pattern[str]


@cache
def _concepts() -> dict[str, _Concept]:
    return {name: _Concept(_plain(stems), _squeezed(stems)) for name, stems in _CONCEPTS.items()}


def _plain(stems: str) -> re.Pattern[str]:
    words = []
    for stem in stems.split("|"):
        word = re.escape(stem.strip("*")).replace(r"\ ", r"\s+").replace("'", "['’]?")
        if stem == "*_*":
            word = r"[a-z]+_[a-z_]+"
        words.append(
            (r"\w*" if stem.startswith("*") and stem != "*_*" else "")
            + word
            + (r"\w*" if stem.endswith("*") and stem != "*_*" else r"(?!\w)")
        )
    return re.compile(rf"(?<!\w)(?:{'|'.join(sorted(words, key=len, reverse=True))})")


def _squeezed(stems: str) -> re.Pattern[str]:
    # short stems stand in other words by chance once the spaces are gone
    forms = {squeeze(stem) for stem in stems.split("|")}
    words = sorted((form for form in forms if len(form) >= 4), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


FEATURES: tuple[str, ...] = (
    *(f"{a}+{b}" for a, b in _PAIRS),
    *(f"{a}+{b} quoted" for a, b in _PAIRS),
    *_SINGLE,
    "role marker",
    "exfiltration link",
    "address",
    "about attacks",
    "about attacks, quoting",
    "pairs",
    "pairs quoted",
    "hidden",
)
"""Names of the features, in the order of the weights."""


def features(reading: Reading) -> list[float]:
    """The features of one reading, in the order of `FEATURES`."""
    values = _squeezed_features(reading.text) if reading.squeezed else _plain_features(reading.text)
    values["hidden"] = float(reading.hidden and (values.get("pairs", 0) > 0))
    return [float(values.get(name, 0.0)) for name in FEATURES]


def _plain_features(text: str) -> dict[str, float]:
    text = _LABEL_TAIL.sub(" ", text)
    outside = _QUOTED.sub(lambda found: " " * 3, text)
    values: dict[str, float] = {}
    about = len(set(_ABOUT.findall(outside)))
    own, everywhere = _pairs(outside), _pairs(text) if outside != text else {}
    quoted = {pair for pair in everywhere if pair not in own}
    for pair in own:
        values[pair] = 1.0
    for pair in quoted:
        values[f"{pair} quoted"] = 1.0
    for name in _SINGLE:
        values[name] = float(bool(_concepts()[name].plain.search(outside)))
    values["role marker"] = float(bool(_ROLE_MARKER.search(outside)))
    values["exfiltration link"] = float(bool(_EXFILTRATION.search(text)))
    values["address"] = float(bool(_EMAIL.search(outside)))
    values["about attacks"] = min(about, 3) / 3
    values["about attacks, quoting"] = values["about attacks"] * float(outside != text)
    values["pairs"] = min(len(own), 3) / 3
    values["pairs quoted"] = min(len(quoted), 3) / 3
    return values


def _pairs(text: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for sentence in _SENTENCE.split(text):
        places = {
            name: [match.span() for match in concept.plain.finditer(sentence)] for name, concept in _concepts().items()
        }
        for first, second in _PAIRS:
            if any(_near(a, b, _WINDOW) for a in places[first] for b in places[second]):
                found[f"{first}+{second}"] = True
    return found


def _squeezed_features(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    places = {
        name: [match.span() for match in concept.squeezed.finditer(text)] for name, concept in _concepts().items()
    }
    for first, second in _PAIRS:
        if any(_near(a, b, _SQUEEZED_WINDOW) for a in places[first] for b in places[second]):
            values[f"{first}+{second}"] = 1.0
    values["pairs"] = min(len(values), 3) / 3
    for name in _SINGLE:
        values[name] = float(bool(places[name]))
    return values


def _near(first: tuple[int, int], second: tuple[int, int], window: int) -> bool:
    """In either order, without overlap, at most `window` characters apart."""
    gap = second[0] - first[1] if second[0] >= first[1] else first[0] - second[1]
    return 0 <= gap <= window
