"""Pages of those who operate: what they show and to whom, and that a form does what it says, once, or nothing."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.evals.promotion import champions
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.graphs.config.load import load
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.store import Store
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.serving.operating.router_figures import MOST
from sluicegate.serving.workflows import Workflows
from tests.support import operated
from tests.support.operated import HARM, NAME
from tests.support.stand import served, service

OLGA = {"x-user": "olga", "x-roles": "operator", "sec-fetch-site": "same-origin"}
AUDITOR = {**OLGA, "x-user": "carol", "x-roles": "auditor"}
EMPLOYEE = {**OLGA, "x-user": "ann", "x-roles": "employee"}
LISTS = ("/console/workflows", "/console/router", "/console/evaluations", "/console/incidents", "/console/switches")


@dataclass(frozen=True)
class Form:
    """A form of these pages: the page that it is on, where it goes, its fields."""

    page: str
    target: str
    fields: dict[str, str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return operated.written(tmp_path_factory.mktemp("workflows"))


@pytest.fixture(scope="module")
def client(own_home: Path, files: tuple[Path, Path, Path]) -> Iterator[httpx.Client]:
    with served(Workflows([service(files[0]), service(files[2])])) as client:
        client.headers.update(OLGA)
        yield client


@pytest.mark.slow
def test_empty_pages_say_so(client: httpx.Client) -> None:
    found = {path: client.get(path, follow_redirects=True) for path in LISTS}
    assert {each.status_code for each in found.values()} == {200}
    assert "No router has been fitted" not in found["/console/router"].text
    assert "0 classified runs in the earlier window" in found["/console/router"].text
    assert "No evaluation is kept" in found["/console/evaluations"].text
    assert "No open incident" in found["/console/incidents"].text
    assert "Nothing is switched off" in found["/console/switches"].text
    whole = client.get(f"/console/workflows/{NAME}").text
    assert "Nothing has been promoted" in whole
    assert "No challenger has run in the shadow" in whole


@pytest.fixture(scope="module")
def filled(client: httpx.Client, files: tuple[Path, Path, Path]) -> list[str]:
    operated.walked(400)
    operated.evaluated(files[0])
    operated.shadowed(files[0], files[1])
    operated.switched()
    return operated.reported()


def pages(incident: str) -> list[str]:
    return [
        "/console/workflows", f"/console/workflows/{NAME}", f"/console/router/{NAME}", "/console/evaluations",
        "/console/evaluations/2", "/console/evaluations/shadows/1", "/console/incidents?status=all",
        f"/console/incidents/{incident}", "/console/switches", "/console/switches/on?name=intent:rules",
        f"/console/switches/off?name=workflow:{NAME}", f"/console/workflows/{NAME}/promote/1",
        f"/console/workflows/{NAME}/roll-back",
    ]  # fmt: skip


@pytest.mark.slow
def test_they_show_what_is_kept_and_escape_it(client: httpx.Client, filled: list[str]) -> None:
    found = {path: client.get(path) for path in pages(filled[0])}
    assert {path: each.status_code for path, each in found.items() if each.status_code != 200} == {}
    for path, each in found.items():
        assert "<img" not in each.text, path
        assert "<b>anything" not in each.text, path
        assert each.text.count("<script") == 2, path
    told = {path: re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", each.text)) for path, each in found.items()}
    assert "the-other" in told["/console/workflows"]
    assert "/console/router/the-other" in found[f"/console/router/{NAME}"].text
    workflow = told[f"/console/workflows/{NAME}"]
    assert "after answer every path to respond passes check first" in workflow
    assert "waived nobody approves &lt;b&gt;anything&lt;/b&gt; here at all" in workflow
    router = told[f"/console/router/{NAME}"]
    assert "of what reaches it, at most 10.0 % is wrong, with 95.0 % confidence" in router
    assert "Reached their threshold 100.0 % 0.0 %" in router
    assert "calibrate again" in router
    evaluation = told["/console/evaluations/2"]
    assert "1 of them" in evaluation
    assert "was correct , is incorrect" in evaluation
    assert "mail rules" in evaluation
    shadow = told["/console/evaluations/shadows/1"]
    assert "PROMOTE Every gate passes" in shadow
    assert "Promote the challenger…" in shadow


@pytest.mark.slow
def test_answers_of_evaluations_are_not_shown(client: httpx.Client, filled: list[str]) -> None:
    """They may rest on documents that are not for every operator; each request has its text once, where it differs."""
    text = client.get("/console/evaluations/2").text
    assert text.count("onerror") == 4  # the request that differs, there and as an incorrect one; the broken one's two


@pytest.mark.slow
@pytest.mark.parametrize("who", [EMPLOYEE, AUDITOR])
def test_who_may_not_is_offered_nothing_and_refused(
    client: httpx.Client, filled: list[str], who: dict[str, str], own_home: Path
) -> None:
    before = effects(own_home)
    found = {path: client.get(path, headers=who, follow_redirects=True) for path in [*LISTS, *pages(filled[0])]}
    if who is EMPLOYEE:
        assert {path for path, each in found.items() if each.status_code not in (403, 404)} == set()
        assert "Workflows" not in client.get("/console", headers=who).text
    else:
        asked = {path for path, each in found.items() if each.status_code == 403}
        assert asked == {path for path in found if "switches/o" in path or "promote/" in path or "roll-back" in path}
        for path, each in found.items():
            offered = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', each.text)
            assert offered == ["/console/sign-out"], path
            assert "…</a>" not in each.text, path
    page = client.get("/console", headers=who)
    token = csrf(page.text)
    for form in forms(client, filled[0]):
        sent = client.post(form.target, data={**form.fields, "csrf": token}, headers=who)
        assert sent.status_code in (403, 404), form.target
    assert effects(own_home) == before


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page
    return found[1]


def forms(client: httpx.Client, incident: str) -> list[Form]:
    """One of each, as the pages give them to olga now."""
    why = {"reason": HARM, "note": HARM, "resolution": HARM}
    made: list[Form] = []
    for page in (
        f"/console/workflows/{NAME}/promote/1", f"/console/workflows/{NAME}/roll-back",
        f"/console/switches/off?name=workflow:{NAME}", "/console/switches/on?name=intent:rules",
        f"/console/incidents/{incident}", "/console/incidents",
    ):  # fmt: skip
        text = client.get(page).text
        for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL):
            action = re.search(r'action="([^"]+)"', form)
            target = action[1] if action else page
            if target != "/console/sign-out":
                fields: dict[str, str] = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
                texts = {name: why[name] for name in re.findall(r'<textarea[^>]*name="(\w+)"', form)}
                made.append(Form(page, target, {**fields, **texts}))
    return made


def effects(folder: Path) -> dict[str, Any]:
    """What forms change, and what was logged of it."""
    incidents = Incidents()
    lines = "".join(path.read_text() for path in sorted((folder / "audit").glob("audit-*.jsonl"))).splitlines()
    logged = Counter(json.loads(line)["event"] for line in lines)
    found = {
        "versions": champions.history(NAME),
        "off": KillSwitch().entries(),
        "incidents": incidents.list(status="all"),
        "logged": {name: count for name, count in logged.items() if not name.startswith("workflow.")},
        "verified": (folder / "audit" / "verified.json").exists(),
    }
    incidents.disconnect()
    return found


@pytest.mark.slow
def test_a_thousand_forged_forms_do_nothing(client: httpx.Client, filled: list[str], own_home: Path) -> None:
    before, given = effects(own_home), forms(client, filled[0])
    assert len(given) == 6  # nothing to roll back to yet
    without = [{**form.fields, "csrf": forged} for form in given for forged in ("", "x", HARM)]
    elsewhere = [form.fields for form in given]
    sent = 0
    while sent < 1000:
        for number, form in enumerate(given):
            for fields in without[3 * number : 3 * number + 3]:
                assert client.post(form.target, data=fields).status_code == 403
            for site in ("cross-site", "same-site", "none"):
                headers = {"sec-fetch-site": site}
                assert client.post(form.target, data=elsewhere[number], headers=headers).status_code == 403
            assert client.post(form.target, json=elsewhere[number]).status_code in (403, 415)
            # a page of another address that the gateway takes for ours
            origin = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
            assert client.post(form.target, data=elsewhere[number], headers=origin).status_code == 403
            sent += 8
    assert effects(own_home) == before


@pytest.mark.slow
def test_a_form_without_a_reason_comes_back(client: httpx.Client, filled: list[str], own_home: Path) -> None:
    before = effects(own_home)
    for form in forms(client, filled[0]):
        for name in ("reason", "note", "resolution"):
            for text in ("", " \n ", "x" * 2001):
                if name in form.fields:
                    sent = client.post(form.target, data={**form.fields, name: text})
                    assert (sent.status_code, 'aria-invalid="true"' in sent.text) == (422, True), form.target
    assert effects(own_home) == before


@pytest.mark.slow
def test_a_form_sent_twice_at_a_time_is_done_once(client: httpx.Client, filled: list[str], own_home: Path) -> None:
    """Each of them eight times, from eight tabs; then the rollback, of what the first of them promoted."""
    was = effects(own_home)["logged"]
    given = forms(client, filled[0])
    for form in given:
        doubled(client, form)
    (back,) = [form for form in forms(client, filled[0]) if form.target.endswith("/roll-back")]
    doubled(client, back)
    # a page of before another's change does nothing more
    for form in [*given, back]:
        sent = client.post(form.target, data=form.fields)
        assert sent.status_code in (303, 404, 409), form.target
    found = effects(own_home)
    assert [entry["action"] for entry in found["versions"]] == ["start", "promote", "rollback"]
    assert (found["versions"][1]["by"], found["versions"][1]["facts"]["note"]) == ("olga", HARM)
    assert found["versions"][2]["facts"]["reason"] == HARM
    assert [(each.name, each.by, each.reason) for each in found["off"]] == [(f"workflow:{NAME}", "olga", HARM)]
    incident = next(each for each in found["incidents"] if each["id"] == filled[0])
    assert (incident["status"], incident["resolution"]) == ("closed", HARM)
    assert [note["by"] for note in incident["notes"]] == [HARM, "olga", "olga"]
    assert {name: count - was.get(name, 0) for name, count in found["logged"].items() if count > was.get(name, 0)} == {
        "champion.promote": 1, "champion.rollback": 1, "switch.off": 1, "switch.on": 1, "incident.annotated": 1,
        "incident.closed": 1,
    }  # fmt: skip
    assert "intact" in client.get("/console/incidents").text
    KillSwitch().on(f"workflow:{NAME}")


def doubled(client: httpx.Client, form: Form) -> None:
    headers, cookies = dict(client.headers), dict(client.cookies)

    def send(_: int) -> int:
        return httpx.post(
            str(client.base_url.join(form.target)),
            data=form.fields,
            headers=headers,
            cookies=cookies,
            timeout=60,
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        codes = Counter(threads.map(send, range(8)))
    # a promotion of what serves already is what was asked for
    assert codes[303] == 1 or "promote" in form.target, (form.target, codes)
    assert set(codes) <= {303, 409}, (form.target, codes)


@pytest.mark.slow
def test_the_pages_read_a_bounded_part_of_ten_thousand_runs(
    client: httpx.Client, filled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock of a busy machine says: rows that come out of the store, and pairs that are read again."""
    operated.walked(10_000)
    rows: list[int] = []
    query, pairs = Store.query, PairStore.pairs

    def counted(store: Store, *given: Any) -> list[dict[str, Any]]:
        found = query(store, *given)
        rows.append(len(found))
        return found

    read: list[int] = []

    def noted(store: PairStore, number: int) -> Any:
        read.append(number)
        return pairs(store, number)

    client.get("/console/evaluations/shadows/1")
    monkeypatch.setattr(Store, "query", counted)
    monkeypatch.setattr(PairStore, "pairs", noted)
    for path in pages(filled[0]):
        rows.clear()
        client.get(path)
        most = (3, 2 * MOST + 31) if path.startswith("/console/router/") else (0, 0)
        assert (len(rows), sum(rows)) <= most, path
    assert read == []


def test_the_newest_window_is_what_is_compared(own_home: Path) -> None:
    with closing(Store()) as store:
        found = store.confidences(NAME, most=5)
        assert [row["run_id"] for row in store.confidences(NAME)][-5:] == [row["run_id"] for row in found]


@pytest.mark.slow
def test_a_kept_digest_is_that_of_the_file(
    files: tuple[Path, Path, Path], client: httpx.Client, filled: list[str]
) -> None:
    text = client.get(f"/console/workflows/{NAME}").text
    assert load(files[0]).digest in text
    assert text.count("Kept copies (2)") == 1
