"""Attacks on prompts for the injection guard, beside those of the given sets.

None is part of the repository. A folder holds, from github.com:

- `extraction_robustness_dataset.jsonl` and `hijacking_robustness_dataset.jsonl` of HumanCompatibleAI/tensor-trust-data
  at commit e2385ea (without a licence of its own): players of a game ask a prompt for its password, or take it over
- `raccoon`: `Data/attacks` of M0gician/RaccoonBench at commit d2ea81e (GPL-3.0): requests for a prompt
- `promptmap`: `rules` of utkusen/promptmap at commit d305132 (GPL-3.0), of which those are read that ask for the prompt
  or give another task
- `prompt-extraction`: `attacks` of y0mingzhang/prompt-extraction at commit dc00b2f (MIT): requests, most of them
  polite, to repeat the conversation

The guard is fitted on two thirds of the clusters of Tensor Trust, and on nothing of the others.
"""

import hashlib
import json
from pathlib import Path

import yaml

from benchmarks.harmless import LONGEST, drawn
from sluicegate.policies.guards.injection.fit import TrainingRow
from sluicegate.policies.guards.injection.likeness import clusters

__all__ = ["trust", "unseen"]

TRUST = {
    "extraction": ("Tensor Trust, asking for a secret", "extraction"),
    "hijacking": ("Tensor Trust, taking a prompt over", "direct"),
}
DIGEST = "51cfd7eddc4b5e6179488afd0c43dbd465490d4be87096ffed05146cef5eabaf"
"""SHA-256 over the two files of Tensor Trust."""


def trust(folder: Path, *, apart: bool = False) -> list[TrainingRow]:
    """The attacks of Tensor Trust fitted on, or those kept `apart`: whole clusters, by their texts alone.

    Exits where they are not those that are meant.
    """
    files = [folder / f"{name}_robustness_dataset.jsonl" for name in TRUST]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if digest != DIGEST:
        raise SystemExit(f"{folder} holds other attacks than those of benchmarks/attacks.py: {digest}")
    rows: dict[str, TrainingRow] = {}
    for file, (source, kind) in zip(files, TRUST.values(), strict=True):
        texts = {json.loads(line)["attack"][:LONGEST] for line in file.read_text(encoding="utf-8").splitlines()}
        rows.update({text: TrainingRow(text, attack=True, source=source, kind=kind) for text in sorted(texts)})
    first: dict[int, str] = {}
    cluster = clusters(list(rows), [""] * len(rows)).tolist()
    for text, number in zip(rows, cluster, strict=True):
        first[number] = min(first.get(number, text), text)
    return [row for row, number in zip(rows.values(), cluster, strict=True) if (drawn(first[number]) % 3 == 0) == apart]


def unseen(folder: Path) -> dict[str, list[str]]:
    """The attacks that no fit has seen, by what they are."""
    kept = trust(folder, apart=True)
    rules = [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for kind in ("distraction", "prompt_stealing")
        for file in sorted((folder / "promptmap" / "rules" / kind).glob("*.yaml"))
    ]
    asked = json.loads((folder / "prompt-extraction" / "attacks" / "generated.json").read_text(encoding="utf-8"))
    raccoon = sorted(file for file in (folder / "raccoon").rglob("*") if file.is_file())
    return {
        **{
            f"{source}, clusters kept apart": [row.text for row in kept if row.source == source]
            for source, _ in TRUST.values()
        },
        "Raccoon, asking for a prompt": [file.read_text(encoding="utf-8")[:LONGEST] for file in raccoon],
        "promptmap, asking for a prompt or giving another task": sorted({str(rule["prompt"]) for rule in rules}),
        "Effective Prompt Extraction, asking to repeat": sorted({text.strip() for text in asked}),
    }
