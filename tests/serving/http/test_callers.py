"""Tokens, and the headers of a gateway."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from typer.testing import CliRunner

from sluicegate.cli.token import app
from sluicegate.errors import RunError
from sluicegate.serving.http.callers import Claims, Named, TokenFile, TrustedHeader

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def bearer(token: str) -> Headers:
    return Headers({"authorization": f"Bearer {token}"})


def refused(file: TokenFile | TrustedHeader, headers: Headers) -> str:
    with pytest.raises(RunError) as raised:
        file.of(headers)
    return raised.value.code


def test_a_token_is_its_person_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    ann = file.add("ann", Named(id="ann", roles=["employee"], clearance="confidential"))
    ben = file.add("ben", Named(id="ben"))
    assert file.of(bearer(ann)).principal == {
        "id": "ann", "roles": ["employee"], "groups": [], "clearance": "confidential",
    }  # fmt: skip
    assert file.of(bearer(ben)).principal["id"] == "ben"
    written = file.path.read_text()
    assert ann not in written
    assert ben not in written
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert refused(file, bearer(ann + "x")) == "SG619"
    assert refused(file, bearer("")) == "SG619"
    twice = Headers(raw=[(b"authorization", b"Bearer " + ann.encode())] * 2)
    assert refused(file, twice) == "SG619"


def test_a_token_ends(tmp_path: Path) -> None:
    now = [NOW]
    file = TokenFile(tmp_path / "tokens.json", now=lambda: now[0])
    token = file.add("ann", Named(id="ann"), valid=timedelta(days=1))
    now[0] += timedelta(hours=23)
    assert file.of(bearer(token)).name == "ann"
    now[0] += timedelta(hours=1)
    assert refused(file, bearer(token)) == "SG619"


def test_a_change_of_the_file_is_seen_by_who_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = TokenFile(path).add("ann", Named(id="ann"))
    other = TokenFile(path)
    assert other.of(bearer(token)).name == "ann"
    assert TokenFile(path).revoke("ann")
    assert refused(other, bearer(token)) == "SG619"
    assert not TokenFile(path).revoke("ann")


def test_a_file_that_cannot_be_trusted_signs_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    file = TokenFile(path)
    token = file.add("ann", Named(id="ann"))
    path.chmod(0o666)
    # the same content, another time: it is read anew
    os.utime(path, (1, 1))
    assert refused(file, bearer(token)) == "SG623"
    path.chmod(0o600)
    path.write_text("{")
    assert refused(file, bearer(token)) == "SG623"
    path.unlink()
    assert refused(file, bearer(token)) == "SG623"
    with pytest.raises(RunError, match="file not found"):
        file.tokens()


def test_every_token_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that stops at the first hit would tell by its time how far it got."""
    import hmac

    file = TokenFile(tmp_path / "tokens.json")
    first, *_ = [file.add(name, Named(id=name)) for name in ("a", "b", "c")]
    compared: list[str] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or real(a, b))
    file.of(bearer(first))
    assert len(compared) == 3


def test_what_a_gateway_says() -> None:
    gateway = TrustedHeader("X-Forwarded-User", "X-Roles", "X-Groups")
    caller = gateway.of(Headers({"x-forwarded-user": "ann", "x-roles": "employee, lead", "x-groups": ""}))
    assert caller.principal == {"id": "ann", "roles": ["employee", "lead"], "groups": [], "clearance": "internal"}
    assert refused(gateway, Headers({"x-roles": "lead"})) == "SG619"
    smuggled = Headers(raw=[(b"x-forwarded-user", b"ann"), (b"x-roles", b"employee"), (b"x-roles", b"admin")])
    assert refused(gateway, smuggled) == "SG619"


def test_an_application_claims_for_its_users_what_its_token_lists(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    listed = Claims(roles=["employee"], groups=["finance"])
    portal = file.of(bearer(file.add("portal", Named(id="portal", clearance="confidential"), claims=listed)))
    ann = Named(id="ann", roles=["employee"], groups=["finance"], clearance="confidential")
    assert portal.acting_for(ann) == ann.principal()
    assert portal.acting_for(None)["id"] == "portal"
    for more in ({"roles": ["employee", "auditor"]}, {"groups": ["board"]}, {"clearance": "restricted"}):
        with pytest.raises(RunError) as raised:
            portal.acting_for(ann.model_copy(update=more))
        assert raised.value.code == "SG610"
    own = file.of(bearer(file.add("ann", ann)))
    with pytest.raises(RunError):
        own.acting_for(Named(id="ben"))


def test_an_application_token_of_0_1_0_claims_nothing(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    token = file.add("portal", Named(id="portal"), claims=Claims(roles=["employee"]))
    kept = json.loads(file.path.read_text())
    del kept["tokens"][0]["claims"]
    file.path.write_text(json.dumps(kept))
    portal = file.of(bearer(token))
    assert portal.acting_for(Named(id="ann"))["id"] == "ann"
    with pytest.raises(RunError) as raised:
        portal.acting_for(Named(id="ann", roles=["employee"]))
    assert "--claim-role" in str(raised.value.hint)


def test_the_command_shows_a_token_once(tmp_path: Path) -> None:
    path = str(tmp_path / "tokens.json")

    def call(*given: str) -> str:
        result = CliRunner().invoke(app, [*given, "--tokens", path])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    token = call("add", "ann", "--role", "employee", "--days", "7").strip()
    assert TokenFile(Path(path)).of(bearer(token)).principal["roles"] == ["employee"]
    with pytest.raises(RunError) as raised:
        call("add", "ann")
    assert raised.value.code == "SG623"
    assert token not in call("list")
    (row,) = json.loads(call("list", "--json"))
    assert (row["name"], row["principal"]["id"], row["on_behalf"]) == ("ann", "ann", False)
    assert "revoked" in call("revoke", "ann")
    portal = call("add", "portal", "--on-behalf", "--claim-role", "employee", "--claim-group", "finance").strip()
    assert TokenFile(Path(path)).of(bearer(portal)).claims == Claims(roles=["employee"], groups=["finance"])
    with pytest.raises(RunError):
        call("revoke", "ann")
