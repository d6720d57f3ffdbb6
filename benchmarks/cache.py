"""The answer cache: what a semantic one would serve rightly and wrongly, and what a look-up costs.

    python benchmarks/cache.py [--strangers] [--record]

Labelled pairs in `tests/policies/cache/cache_pairs.jsonl`: those of part ``held`` were not looked at while the verifier
was made. `--strangers` takes the requests of Banking77 and CLINC150 (training rows, `../shared/data`), which others
wrote and labelled: of every two that the verifier takes for the same, how many have different labels? Rows that are
equal but for case and spacing are left out; about a minute for the embeddings.
"""

import argparse
import asyncio
import gzip
import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import results
from sluicegate.evals.evaluation.cache_eval import figures, read_pairs, try_pairs
from sluicegate.evals.evaluation.intervals import rate
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.policies.cache import paraphrase
from sluicegate.policies.cache.cache import AnswerStore, normalised
from sluicegate.policies.cache.paraphrase import difference
from sluicegate.policies.config import CacheConfig
from sluicegate.services import EmbeddingRequest, Question

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "tests" / "policies" / "cache" / "cache_pairs.jsonl"
DATA = ROOT.parent / "shared" / "data"
STRANGERS = ("banking77/train", "clinc150/train")
SIMILARITY = CacheConfig().similarity


async def labelled(models: ModelSet) -> results.Table:
    rows: list[tuple[str, ...]] = []
    for part in ("build", "held"):
        found = figures(await try_pairs(read_pairs(PAIRS, part=part), models), SIMILARITY)
        for name, figure in (("similarity and verifier", found), ("similarity alone", found["similarity_alone"])):
            precision, recall = figure["precision"], figure["recall"]
            shares = [f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in (precision, recall)]
            rows.append((part, name, figure["hits"], *shares))
            print(
                f"{part:<6} {found['pairs']} pairs  {name:<24} {figure['hits']:>3} hits"
                f"  precision {shares[0]}  recall {shares[1]}"
            )
    return results.table(("pairs", "decided by", "hits", "precision", "recall"), *rows)


async def strangers(models: ModelSet) -> results.Table:
    table: list[tuple[str, str, str, str]] = []
    for name in STRANGERS:
        file = DATA / f"{name}.jsonl.gz"
        if not file.exists():
            print(f"{name}: no {file}, skipped")
            continue
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
        labels = {normalised(row["text"]): row["label"] for row in rows}
        same = _same([*labels])
        texts = list(dict.fromkeys(text for pair in same for text in pair))
        vectors = dict(zip(texts, (await models.embed(EmbeddingRequest("embedder", texts))).vectors, strict=True))
        hits = [
            (one, other)
            for one, other in same
            if sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True)) >= SIMILARITY
        ]
        agree = rate([float(labels[one] == labels[other]) for one, other in hits])
        assert agree
        share = f"{agree.value:.1%} [{agree.low:.1%}, {agree.high:.1%}]"
        table.append((name.partition("/")[0], f"{len(labels):,}", f"{len(hits):,}", share))
        print(f"{name}: {len(labels)} requests, {len(hits)} pairs served as the same, of one label: {share}")
        for one, other in hits:
            if labels[one] != labels[other]:
                print(f"    {one} ({labels[one]}) | {other} ({labels[other]})")
    return results.table(("requests of", "number", "pairs served as the same", "of one label"), *table)


def _same(texts: list[str]) -> list[tuple[str, str]]:
    """Every two texts that the verifier takes for the same; such texts have the same content words."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for text in texts:
        groups[tuple(sorted(paraphrase._read(text).words))].append(text)
    candidates = (pair for group in groups.values() for pair in itertools.combinations(group, 2))
    return [pair for pair in candidates if not difference(*pair)]


def speed() -> results.Table:
    """A semantic look-up without the embedding, over as many questions as are compared at most."""
    import numpy as np

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1_000, 384)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with TemporaryDirectory() as folder:
        cache = AnswerStore(Path(folder) / "cache.sqlite")
        for number, vector in enumerate(vectors):
            asked = Question("space", f"How do I order part {number}?", vector.tolist())
            cache.put(f"{number:064}", {"answer": {"text": "x" * 400}}, ttl_s=1e6, saved_usd=0.0, question=asked)
        took: list[float] = []
        for number in range(200):
            asked = Question("space", f"How can I order part {number}?", vectors[number].tolist())
            started = time.process_time()
            found = cache.near(asked, similarity=SIMILARITY)
            assert found
            assert not difference(asked.text, found[0].text)
            assert cache.get(found[0].key, again=True)
            took.append((time.process_time() - started) * 1000)
        cache.close()
    median = f"{statistics.median(took):.2f} ms"
    print(f"semantic hit among 1,000 questions, without the embedding: {median} of CPU time")
    return results.table(("a semantic hit among 1,000 questions, without the embedding",), (median,))


ABOUT = """
Pairs of questions, written by one hand; those of the part `held` (70 look-alikes, 46 paraphrases, of other fields than
the rest) were not looked at while the verifier was made. Paraphrases are nearer to their originals than many real ones
are, so expect a lower recall. With all-MiniLM-L6-v2 and the default similarity. Of requests that others wrote and
labelled, the share of pairs served as the same that have one label; most of the others read as the same question under
two labels. Two rules of the verifier were made after a look at such pairs, so those rows are not held out, and labels
say nothing about recall.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strangers", action="store_true", help="also Banking77 and CLINC150")
    parser.add_argument("--record", action="store_true")
    chosen = parser.parse_args()
    models = ModelSet({"embedder": ModelConfig.model_validate({"use": "embedded:all-minilm-l6-v2"})})

    async def measure() -> list[results.Table]:
        return [await labelled(models), *([await strangers(models)] if chosen.strangers else [])]

    tables = [*asyncio.run(measure()), speed()]
    if chosen.record:
        results.record("cache", "The semantic cache", ABOUT, tables)


if __name__ == "__main__":
    main()
