"""Search: what is found, in which order, and above all what is never found."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sluicegate.errors import RetrievalError
from sluicegate.retrieval import lance
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import Document, by_labels, day_number, where
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.lance import LanceRetriever, search_terms
from sluicegate.services import EmbeddingRequest
from tests.support.knowledge import TODAY, Desk, HashEmbedder, person

HOSTILE_LABELS = [
    "role:o'brien",
    "role:') OR ('1'='1",
    'role:say "hi"',
    "role:back\\slash",
    "group:größe 🚀",
    "role:a, 'b",
]


async def test_every_result_is_complete(desk: Desk) -> None:
    desk.article(
        "vpn.md", "# VPN\n\nReset the vpn token.", id="kb-1", title="VPN access", version="1.10", source="https://kb/1"
    )
    await desk.ingest()
    retriever = desk.retriever()
    [found] = await retriever.search("kb", "reset the vpn token", person(), k=3)
    assert 0.5 < found["score"] <= 1.0
    assert {key: value for key, value in found.items() if key not in ("score", "hash")} == {
        "id": "kb-1",
        "version": "1.10",
        "title": "VPN access",
        "source": "https://kb/1",
        "span": [0, 27],
        "classification": "public",
    }
    assert retriever.text(found) == "# VPN\n\nReset the vpn token."


async def test_the_best_comes_first_and_k_holds(desk: Desk) -> None:
    desk.article("vpn.md", "reset the vpn token at the desk")
    desk.article("mail.md", "the mailbox is full, archive old mail")
    desk.article("printer.md", "the printer needs toner from the store")
    await desk.ingest()
    for question, first in (("vpn token", "vpn"), ("full mailbox", "mail"), ("toner", "printer")):
        assert (await desk.ids(question))[0] == f"knowledge/{first}.md"
    retriever = desk.retriever()
    assert len(await retriever.search("kb", "the", person(), k=2)) == 2
    assert await retriever.search("kb", "the", person(), k=0) == []


@pytest.mark.slow
async def test_words_find_what_meaning_misses(desk: Desk) -> None:
    """The embedder here knows nothing: every text has the same vector, so only the words can tell them apart."""

    class Blind(HashEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Any:
            found = await super().embed(request)
            return replace(found, vectors=[[1.0] * 8 for _ in request.texts])

    desk.models = Blind()
    for number in range(60):
        desk.article(f"{number:02}.md", f"article about topic {number}")
    desk.article("code.md", "the fault E1042 means a worn drum")
    await desk.ingest()
    assert (await desk.ids("what is e1042?"))[0] == "knowledge/code.md"
    desk.config = desk.config.model_copy(update={"hybrid": False})
    assert "knowledge/code.md" not in (await desk.ids("what is e1042?", k=5))


async def test_common_words_weigh_less_where_all_vectors_are_alike(desk: Desk) -> None:
    """As those of an encoder whose cosines are all close to one."""

    class Alike(HashEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Any:
            found = await super().embed(request)
            topics = [("coche", "vehículo"), ("menú", "patio")]
            vectors = [[3.0, *(float(any(w in text for w in words)) for words in topics)] for text in request.texts]
            return replace(found, vectors=vectors)

    desk.models = Alike()
    desk.article("gate.md", "todo vehículo sale por la puerta norte")
    desk.article("menu.md", "el menú es el que se da cada día en el patio")
    await desk.ingest()
    assert (await desk.ids("por dónde es que saco el coche cada día"))[0] == "knowledge/gate.md"


async def test_stems_and_accents_of_words(desk: Desk) -> None:
    desk.article("a.md", "Résetting passwords")
    desk.article("b.md", "something else")
    await desk.ingest()
    assert (await desk.ids("password reset"))[0] == "knowledge/a.md"


async def test_the_least_similar_are_left_out(desk: Desk) -> None:
    desk.article("vpn.md", "reset vpn token")
    desk.article("mail.md", "archive old mail")
    await desk.ingest()
    assert len(await desk.ids("reset vpn token")) == 2
    desk.config = desk.config.model_copy(update={"minimum_score": 0.3})
    assert await desk.ids("reset vpn token") == ["knowledge/vpn.md"]
    assert await desk.ids("zebra") == []


async def test_a_shared_word_keeps_what_is_hardly_similar(desk: Desk) -> None:
    long = " ".join(f"word{number}" for number in range(60))
    desk.article("elevate.md", f"{long} Elevate {long}")
    desk.article("mail.md", "archive old mail")
    await desk.ingest()
    desk.config = desk.config.model_copy(update={"minimum_score": 0.15, "hybrid": False})
    assert await desk.ids("what does Elevate do") == []
    desk.config = desk.config.model_copy(update={"hybrid": True})
    assert await desk.ids("what does Elevate do") == ["knowledge/elevate.md"]


@pytest.mark.slow
async def test_ties_have_one_order(desk: Desk) -> None:
    for name in ("d", "a", "c", "b"):
        desk.article(f"{name}.md", "the very same words", title="Same")
    await desk.ingest()
    orders = {tuple(await desk.ids("same words")) for _ in range(5)}
    assert orders == {tuple(f"knowledge/{name}.md" for name in "abcd")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [
        "",
        " \n\t",
        "\x00",
        "🚀🚀",
        '"',
        "'",
        "' OR 1=1 --",
        'vpn" AND NOT (token',
        "(((",
        "vpn*~^2 +must -not field:value",
        "\\",
        "a" * 10_000,
        "vpn " * 2_500,
        "ünïcödé 漢字 עברית",
        "\ud800",
    ],
)
async def test_no_question_breaks_the_search(desk: Desk, question: str) -> None:
    desk.article("vpn.md", "reset vpn token")
    desk.article("secret.md", "secret vpn token", readers="role:hr")
    await desk.ingest()
    found = await desk.ids(question.encode("utf-8", "replace").decode() if question == "\ud800" else question)
    assert set(found) <= {"knowledge/vpn.md"}
    if not question.strip():
        assert found == []


def test_search_terms_hold_no_operator() -> None:
    assert search_terms("Reset: \"VPN\" AND (token_2) -x 'vpn' Größe") == "reset vpn and token 2 x größe"
    assert len(search_terms(" ".join(str(number) for number in range(1_000))).split()) == 64


@pytest.mark.slow
async def test_only_readers_find_a_document(desk: Desk) -> None:
    who = {
        "everyone": "readers: everyone",
        "hr": "readers: role:hr",
        "finance": "readers: group:finance",
        "bob": "readers: user:bob",
        "both": "readers: [role:hr, group:finance]",
        "nobody": "readers: []",
    }
    for name, readers in who.items():
        desk.write(f"{name}.md", f"---\nid: {name}\napproved: true\nclearance: public\n{readers}\n---\nsalary bands")
    await desk.ingest()
    expected = {
        ("ann", (), ()): {"everyone"},
        ("ann", ("hr",), ()): {"everyone", "hr", "both"},
        ("ann", ("finance",), ()): {"everyone"},
        ("ann", (), ("finance",)): {"everyone", "finance", "both"},
        ("bob", (), ()): {"everyone", "bob"},
        # names that try to be labels of another kind
        ("x", ("bob", "user:bob", "role:hr"), ("hr'", "everyone", "role:hr")): {"everyone"},
        ("hr", (), ()): {"everyone"},
    }
    for (name, roles, groups), names in expected.items():
        assert set(await desk.ids("salary bands", person(name, roles=roles, groups=groups))) == names


async def test_a_document_with_a_bare_reader_is_reported_and_found_by_nobody(desk: Desk) -> None:
    desk.write("pay.md", "---\nid: pay\napproved: true\nclearance: public\nreaders: [role:hr, hr]\n---\nsalary bands")
    desk.article("all.md", "salary bands", id="all")
    report = await desk.ingest()
    assert any("write role:hr, group:hr or user:hr" in str(problem) for problem in report.problems)
    assert await desk.ids("salary bands", person("ann", roles=("hr",), groups=("hr",))) == ["all"]


async def test_clearance(desk: Desk) -> None:
    ranks = ["public", "internal", "confidential", "restricted"]
    for name in ranks:
        desk.article(f"{name}.md", "salary bands", id=name, clearance=name)
    await desk.ingest()
    for rank, name in enumerate(ranks):
        assert set(await desk.ids("salary bands", person(clearance=name))) == set(ranks[: rank + 1])


@pytest.mark.slow
async def test_only_approved_documents_are_found(desk: Desk) -> None:
    desk.article("yes.md", "salary")
    desk.article("no.md", "salary", approved="false")
    desk.write("silent.md", "---\nreaders: everyone\nclearance: public\n---\nsalary")
    await desk.ingest()
    assert await desk.ids("salary") == ["knowledge/yes.md"]
    desk.article("yes.md", "salary", approved="no")
    await desk.ingest()
    assert await desk.ids("salary") == []


async def test_validity_ends_with_its_day(desk: Desk) -> None:
    desk.article("past.md", "salary", valid_until="2026-06-14")
    desk.article("today.md", "salary", valid_until="2026-06-15")
    desk.article("always.md", "salary")
    await desk.ingest()
    assert await desk.ids("salary") == ["knowledge/always.md", "knowledge/today.md"]
    retriever = desk.retriever()
    before = retriever.visible("kb", person())
    desk.now = datetime(2026, 6, 16, 0, 0, 1, tzinfo=UTC)
    assert await desk.ids("salary") == ["knowledge/always.md"]
    # an answer cached yesterday is not served today
    assert retriever.visible("kb", person()) != before


@pytest.mark.slow
async def test_labels_with_quotes_neither_break_nor_widen(desk: Desk) -> None:
    for number, label in enumerate(HOSTILE_LABELS):
        written = label.replace("\\", "\\\\").replace('"', '\\"')
        desk.article(f"{number}.md", "salary", readers=f'["{written}"]')
    desk.article("secret.md", "salary", readers="role:hr")
    await desk.ingest()
    for number, label in enumerate(HOSTILE_LABELS):
        kind, _, name = label.partition(":")
        who = person(roles=[name]) if kind == "role" else person(groups=[name])
        assert await desk.ids("salary", who) == [f"knowledge/{number}.md"]
    assert await desk.ids("salary", person("') OR true OR ('")) == []


@pytest.mark.slow
async def test_ids_with_quotes_are_replaced_and_removed(desk: Desk) -> None:
    path = desk.article("a.md", "salary one", id="\"o'brien') OR (1=1\"")
    desk.article("b.md", "salary two")
    await desk.ingest()
    desk.article("a.md", "salary changed", id="\"o'brien') OR (1=1\"")
    await desk.ingest()
    assert sorted(await desk.ids("salary")) == ["knowledge/b.md", "o'brien') OR (1=1"]
    path.unlink()
    await desk.ingest()
    assert await desk.ids("salary") == ["knowledge/b.md"]


@pytest.mark.slow
async def test_policy_has_the_last_word(desk: Desk) -> None:
    for number in range(120):
        desk.article(f"{number:03}.md", "salary bands", id=f"{number:03}")
    await desk.ingest()
    asked: list[Mapping[str, Any]] = []

    def readable(principal: Any, index: str) -> Any:
        def permits(document: Mapping[str, Any]) -> bool:
            asked.append(document)
            return int(document["id"]) >= 115

        return {**by_labels(principal, index), "permits": permits}

    retriever = desk.retriever(readable)
    # the refused ones do not use up the places of the others
    found = await retriever.search("kb", "salary bands", person(), k=3)
    assert [document["id"] for document in found] == ["115", "116", "117"]
    assert asked[0] == {
        "id": "000", "source": "knowledge/000.md", "index": "kb", "readers": ["everyone"], "classification": "public",
    }  # fmt: skip
    assert retriever.visible("kb", person()) != desk.retriever().visible("kb", person())


async def test_a_filter_that_fails_is_caught_by_the_second_check(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.article("open.md", "salary")
    desk.article("hr.md", "salary", readers="role:hr")
    desk.article("draft.md", "salary", approved="false")
    desk.article("past.md", "salary", valid_until="2026-01-01")
    desk.article("top.md", "salary", clearance="restricted")
    await desk.ingest()
    monkeypatch.setattr("sluicegate.retrieval.lance.where", lambda *_: "true")
    assert await desk.ids("salary") == ["knowledge/open.md"]


async def test_policies_that_open_everything_or_nothing(desk: Desk) -> None:
    desk.article("hr.md", "salary", readers="role:hr", clearance="restricted")
    await desk.ingest()

    async def found(labels: list[str] | None, max_rank: int) -> int:
        retriever = desk.retriever(lambda *_: {"labels": labels, "max_rank": max_rank, "permits": lambda _: True})
        return len(await retriever.search("kb", "salary", person(), k=3))

    assert await found(None, 3) == 1
    assert await found(None, 2) == 0
    assert await found([], 3) == 0
    assert await found(["role:hr"], -1) == 0
    assert await found(["role:hr"], 3) == 1


async def test_rights_come_from_the_workflows_policies(desk: Desk) -> None:
    from sluicegate.policies.cedar.engine import load_engine
    from sluicegate.policies.cedar.readable import ReadFilters
    from sluicegate.policies.config import PolicyConfig

    desk.article("open.md", "salary", id="open")
    desk.article("hr.md", "salary", id="hr", readers="role:hr")
    desk.article("top.md", "salary", id="top", clearance="restricted")
    await desk.ingest()
    retriever = desk.retriever(ReadFilters(load_engine(desk.folder, PolicyConfig())).readable)

    async def found(who: Any) -> set[str]:
        return {document["id"] for document in await retriever.search("kb", "salary", who, k=9)}

    assert await found(person()) == {"open"}
    assert await found(person(roles=["hr"])) == {"open", "hr"}
    assert await found(person(roles=["hr"], clearance="restricted")) == {"open", "hr", "top"}


@pytest.mark.slow
async def test_what_was_retrieved_once_is_only_for_who_may_read_it_now(desk: Desk) -> None:
    from sluicegate.policies.cedar.engine import load_engine
    from sluicegate.policies.cedar.readable import ReadFilters
    from sluicegate.policies.config import PolicyConfig

    desk.article("open.md", "salary", id="open")
    desk.article("hr.md", "salary", id="hr", readers="role:hr")
    gone = desk.article("gone.md", "salary", id="gone")
    await desk.ingest()
    boss = person(roles=["hr"], clearance="restricted")
    documents = await desk.retriever().search("kb", "salary", boss, k=9)
    assert {document["id"] for document in documents} == {"open", "hr", "gone"}
    gone.unlink()
    # approval and validity were asked when it was retrieved
    desk.article("open.md", "salary", id="open", valid_until="2026-01-01")
    await desk.ingest()

    def left(who: Any) -> list[str]:
        retriever = desk.retriever(ReadFilters(load_engine(desk.folder, PolicyConfig())).readable)
        return sorted(document["id"] for document in retriever.readable(documents, who))

    assert left(boss) == ["hr", "open"]
    assert left(person()) == ["open"]
    folder = desk.folder / "policies"
    folder.mkdir()
    (folder / "stricter.cedar").write_text(
        '@id("stricter.hr")\n@reason("not for now")\n'
        'forbid (principal, action == Action::"read_document", resource == Document::"hr");\n'
    )
    assert left(boss) == ["open"]


async def test_another_index_does_not_open_what_one_forbids(desk: Desk) -> None:
    """A document of the same id elsewhere says nothing about the passage that was retrieved."""
    desk.article("faq.md", "salary bands", id="faq", readers="role:hr")
    await desk.ingest()
    [found] = await desk.retriever().search("kb", "salary", person(roles=["hr"]), k=1)
    other = Desk(desk.folder / "other", desk.indexes / "x", desk.config, desk.models)
    (other.folder / "knowledge").mkdir(parents=True)
    other.article("faq.md", "opening hours", id="faq")
    await other.ingest()
    (desk.indexes / "x" / "kb").rename(desk.indexes / "public")
    indexes = {"public": desk.config, "kb": desk.config}
    retriever = LanceRetriever(desk.indexes, indexes, desk.models, now=lambda: TODAY)
    assert retriever.readable([found], person()) == []
    assert retriever.readable([found], person(roles=["hr"])) == [found]


async def test_visible_is_shared_by_those_who_read_the_same(desk: Desk) -> None:
    desk.article("open.md", "salary")
    desk.article("hr.md", "salary", readers="role:hr")
    desk.article("bob.md", "salary", readers="user:bob")
    await desk.ingest()
    retriever = desk.retriever()
    key = retriever.visible("kb", person("ann"))
    assert key == retriever.visible("kb", person("cat", roles=["clerk"], clearance="public"))
    keys = {key, retriever.visible("kb", person("bob")), retriever.visible("kb", person("ann", roles=["hr"]))}
    assert len(keys) == 3


async def test_an_unknown_or_empty_index(desk: Desk) -> None:
    retriever = desk.retriever()
    for index, why in (("kb", "is empty"), ("kbb", "Did you mean 'kb'?")):
        for call in (
            lambda index=index: retriever.version(index),
            lambda index=index: retriever.visible(index, person()),
        ):
            with pytest.raises(RetrievalError) as caught:
                call()
            assert caught.value.code == "SG401"
            assert why in str(caught.value)
        with pytest.raises(RetrievalError) as caught:
            await retriever.search(index, "vpn", person(), k=1)
        assert caught.value.code == "SG401"


@pytest.mark.slow
async def test_the_event_loop_stays_free(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        desk.article(f"{number}.md", f"vpn {number}")
    await desk.ingest()
    retriever = desk.retriever()
    await retriever.search("kb", "vpn", person(), k=5)
    real, at_once, most_at_once = lance._by_meaning, 0, 0

    async def counted(*given: Any) -> Any:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        rows = await real(*given)
        at_once -= 1
        return rows

    monkeypatch.setattr(lance, "_by_meaning", counted)
    results = await asyncio.gather(*(retriever.search("kb", f"vpn {number}", person(), k=5) for number in range(20)))
    assert all(len(result) == 5 for result in results)
    # all of them begin before the table has answered the first
    assert most_at_once == 20


def test_a_retriever_works_in_one_loop_after_another(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    asyncio.run(desk.ingest())
    retriever = desk.retriever()
    for _ in range(2):
        assert len(asyncio.run(retriever.search("kb", "vpn", person(), k=1))) == 1


@pytest.mark.slow
async def test_a_large_index_gets_a_vector_index_and_answers_the_same(desk: Desk) -> None:
    """The exact answer is kept: a vector index with refinement returns what the flat search did, also when filtered."""
    rows = "\n".join(f"{number},word{number % 97} term{number % 89} unit{number % 83}" for number in range(600))
    desk.write("rows.csv", f"number,words\n{rows}\n")
    desk.write("rows.csv.meta.yaml", "approved: true\nreaders: everyone\nclearance: public\n")
    desk.article("hr.md", "word5 term5 unit5", readers="role:hr")
    desk.config = desk.config.model_copy(update={"hybrid": False})
    await desk.ingest()
    retriever = desk.retriever()

    async def spans() -> list[list[tuple[str, int]]]:
        found = [await retriever.search("kb", f"word{n} term{n} unit{n}", person(), k=1) for n in (5, 17, 40, 61)]
        return [[(document["id"], document["span"][0]) for document in one] for one in found]

    flat = await spans()
    desk.article("more.md", "word7 term7 unit7")
    await desk.ingest(flat_rows=100)
    head = retriever._snapshot("kb").head
    table = await tables.open_at(desk.indexes / "kb", head.table, head.table_version)
    kinds = {column: found.index_type for found in await table.list_indices() for column in found.columns}
    assert kinds["vector"] == "IvfHnswSq"
    assert kinds["readers"] == "LabelList"
    assert await spans() == flat
    assert all(document == "knowledge/rows.csv" for one in flat for document, _ in one)


def test_the_filter_says_what_the_check_says() -> None:
    document = Document(
        "d",
        "1",
        "T",
        "s",
        "o",
        approved=True,
        readers=("role:hr",),
        clearance="internal",
        valid_until=20260615,
        tags=(),
    )
    readable = by_labels(person(roles=["hr"]), "kb")
    today = day_number(TODAY.date())
    assert document.refusal(readable, today) == ""
    assert document.refusal(readable, today + 1) == "expired"
    assert document.refusal({**readable, "max_rank": 0}, today) == "clearance too low"
    assert document.refusal(by_labels(person(), "kb"), today) == "not among its readers"
    assert replace(document, approved=False).refusal(readable, today) == "not approved"
    assert where({**readable, "labels": ["role:a'b"]}, today) == (
        "approved = true AND valid_until >= 20260615 AND clearance <= 1 AND array_has_any(readers, ['role:a''b'])"
    )


@pytest.mark.slow
async def test_real_embeddings_find_by_meaning(desk: Desk) -> None:
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig

    articles = {
        "vpn": "# Remote access\n\nIf the secure tunnel drops, sign out of the client and connect again.",
        "printer": "# Printing\n\nToner cartridges are in the cupboard on the second floor.",
        "leave": "# Holidays\n\nEnter your days off in the staff portal; your manager approves them within three days.",
    }
    for name, text in articles.items():
        desk.article(f"{name}.md", text, id=name)
    models = ModelSet({"embedder": ModelConfig(use="embedded:all-minilm-l6-v2")})
    desk.models = models  # pyright: ignore[reportAttributeAccessIssue]
    desk.config = IndexConfig(path=("knowledge",))
    await desk.ingest()
    assert (await desk.ids("my VPN keeps disconnecting"))[0] == "vpn"
    assert (await desk.ids("the ink is empty"))[0] == "printer"
    assert (await desk.ids("how do I book vacation?"))[0] == "leave"
    assert await desk.ids("what is the capital of France?") == []
    # another model's vectors would be nonsense here
    retriever = LanceRetriever(desk.indexes, {"kb": desk.config}, HashEmbedder(), now=lambda: TODAY)
    with pytest.raises(RetrievalError) as caught:
        await retriever.search("kb", "vpn", person(), k=1)
    assert caught.value.code == "SG404"
