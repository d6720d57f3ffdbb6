"""Tokens that nobody honest makes, by the items of RFC 8725, RFC 9068 and OpenID Connect: each is refused alike."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwe, jwt
from joserfc.jwk import RSAKey

from sluicegate.errors import RunError
from sluicegate.serving.http.callers.oidc.verification import MAX_CHARACTERS
from tests.support.made_tokens import (
    EC,
    ISSUER,
    NOW,
    RSA,
    THEIRS,
    Published,
    bearing,
    callers,
    claims,
    signed,
    token,
    unsigned,
    with_secret,
)

PUBLIC_PEM = RSA.as_pem(private=False).decode()
HEADER = {"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}


def encrypted() -> str:
    key = RSAKey.generate_key(2048)
    registry = jwe.JWERegistry(algorithms=["RSA-OAEP", "A128CBC-HS256"])
    return jwt.encode({"alg": "RSA-OAEP", "enc": "A128CBC-HS256"}, claims(), key, registry=registry)


def resigned(**header: Any) -> str:
    return token(key=THEIRS, **header)


ATTACKS: dict[str, Callable[[], str]] = {
    # 3.1, 3.2 algorithms
    "none": lambda: unsigned({"alg": "none", "typ": "at+jwt"}, claims()),
    "none by another spelling": lambda: unsigned({"alg": "nOnE", "typ": "at+jwt"}, claims()),
    "none under the id of a key": lambda: unsigned(HEADER | {"alg": "none"}, claims()),
    "no algorithm": lambda: unsigned({"kid": "rsa", "typ": "at+jwt"}, claims(), "AA"),
    "an algorithm that is no text": lambda: unsigned(HEADER | {"alg": ["RS256"]}, claims(), "AA"),
    "the public key as a shared secret": lambda: with_secret(PUBLIC_PEM, HEADER),
    "an empty shared secret": lambda: unsigned(HEADER | {"alg": "HS256"}, claims(), "AA"),
    "an algorithm that is not listed": lambda: token(alg="RS512"),
    "the algorithm of another type of key": lambda: token(key=EC, alg="ES256", kid="rsa"),
    "a signature left out": lambda: unsigned(HEADER, claims()),
    "a signature of zeros": lambda: unsigned(HEADER | {"alg": "ES256", "kid": "ec"}, claims(), "A" * 86),
    "a signature of somebody else": resigned,
    "other claims under a signature": lambda: ".".join(
        (token().split(".")[0], unsigned({}, claims(sub="admin")).split(".")[1], token().split(".")[2])
    ),
    # 3.3 nested and encrypted
    "encrypted": encrypted,
    "nested": lambda: token(cty="JWT"),
    "a signature of detached content": lambda: "..".join(token().split(".")[::2]),
    "in JSON": lambda: json.dumps({"payload": token().split(".")[1], "protected": token().split(".")[0]}),
    # 3.7 what the text is
    "too large": lambda: token(claims(more="x" * MAX_CHARACTERS)),
    "a claim twice": lambda: signed(json.dumps(HEADER), json.dumps(claims())[:-1] + ', "sub": "admin"}'),
    "a header twice": lambda: signed(json.dumps(HEADER)[:-1] + ', "alg": "none"}', json.dumps(claims())),
    "nested too deep": lambda: signed(json.dumps(HEADER), "[" * 5000),
    "an unending number": lambda: signed(json.dumps(HEADER), json.dumps(claims(exp=1)).replace(": 1,", ": Infinity,")),
    "not a number": lambda: signed(json.dumps(HEADER), json.dumps(claims(level=1.5)).replace("1.5", "NaN")),
    "claims that are a list": lambda: signed(json.dumps(HEADER), "[]"),
    "claims that are no JSON": lambda: signed(json.dumps(HEADER), "{"),
    "not of this alphabet": lambda: token().replace(".", ".é", 1),
    # 3.8 issuer and subject
    "no issuer": lambda: token(claims(iss=None)),
    "another issuer": lambda: token(claims(iss="https://evil.example")),
    "an issuer with a slash more": lambda: token(claims(iss=ISSUER + "/")),
    "an issuer in other letters": lambda: token(claims(iss=ISSUER.replace("login", "LOGIN"))),
    "issuers in a list": lambda: token(claims(iss=[ISSUER])),
    "no subject": lambda: token(claims(sub=None)),
    "an empty subject": lambda: token(claims(sub="")),
    "a subject that is no text": lambda: signed(json.dumps(HEADER), json.dumps(claims(sub=1))),
    # 3.9 audience
    "no audience": lambda: token(claims(aud=None)),
    "another audience": lambda: token(claims(aud="payroll")),
    "other audiences": lambda: token(claims(aud=["payroll", "sluicegate-test"])),
    "an audience within a text": lambda: token(claims(aud="payroll sluicegate")),
    "an audience that is no text": lambda: token(claims(aud=[["sluicegate"]])),
    "an audience among what is no text": lambda: token(claims(aud=["sluicegate", 1])),
    # 3.10 what a header points to
    "a key of its own": lambda: resigned(jwk=THEIRS.as_dict(private=False)),
    "a key elsewhere": lambda: resigned(jku="https://evil.example/jwks"),
    "a key elsewhere, of an unknown id": lambda: resigned(jku="https://evil.example/jwks", kid="theirs"),
    "a certificate of its own": lambda: resigned(x5c=["MIIB"]),
    "a certificate elsewhere": lambda: resigned(x5u="https://evil.example/chain.pem"),
    "a file as the id of a key": lambda: with_secret("\0", HEADER | {"kid": "/dev/null"}),
    "a statement as the id of a key": lambda: resigned(kid="rsa' UNION SELECT 'x"),
    "an id that is no text": lambda: unsigned(HEADER | {"kid": ["rsa"]}, claims(), "AA"),
    "a long id": lambda: resigned(kid="r" * 300),
    "no id, where there are several keys": lambda: token(kid=None),
    "a critical extension": lambda: signed(json.dumps(HEADER | {"crit": ["exp"], "exp": 1}), json.dumps(claims())),
    "an unencoded payload (RFC 7797)": lambda: signed(
        json.dumps(HEADER | {"b64": False, "crit": ["b64"]}), json.dumps(claims())
    ),
    # 3.11, 3.12 kinds of token
    "no type": lambda: token(typ=None),
    "of any type": lambda: token(typ="JWT"),
    "a logout token": lambda: token(typ="logout+jwt"),
    "an ID token": lambda: token(claims(nonce="n"), typ="JWT"),
    "an ID token that says at+jwt": lambda: token(claims(nonce="n")),
    "a refresh token of Keycloak's": lambda: token(claims(typ="Refresh")),
    "a security event": lambda: token(claims(events={})),
    # times
    "expired": lambda: token(claims(exp=NOW - 61)),
    "without an end": lambda: token(claims(exp=None)),
    "an end that is a text": lambda: token(claims(exp=str(NOW + 600))),
    "an end that is true": lambda: token(claims(exp=True)),
    "not valid yet": lambda: token(claims(nbf=NOW + 61)),
    "issued tomorrow": lambda: token(claims(iat=NOW + 86_400)),
    # beyond
    "bound to a key that nobody shows": lambda: token(claims(cnf={"jkt": "x"})),
    "nothing": lambda: "",
    "dots": lambda: "..",
    "a token of a file, without one": lambda: "sg_" + "x" * 43,
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_is_refused_without_a_hint_of_why(attack: str) -> None:
    asked = callers()
    headers = bearing(ATTACKS[attack]())
    await asked.ready(headers)
    with pytest.raises(RunError) as raised:
        asked.of(headers)
    allowed = "the token has expired" if attack == "expired" else "the token is not accepted"
    assert (raised.value.code, raised.value.message) == ("SG619", allowed)
    assert raised.value.hint == "Sign in again for another one"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("at+jwt", {}),
        ("application/at+jwt", {"aud": ["payroll", "sluicegate"]}),
        ("AT+JWT", {"exp": NOW - 59, "nbf": NOW + 59}),
    ],
)
async def test_an_honest_one_is_believed(told: str, said: dict[str, Any]) -> None:
    """What every attack above differs from in one thing."""
    asked = callers()
    headers = bearing(token(claims(**said), typ=told))
    await asked.ready(headers)
    assert asked.of(headers).principal["id"] == "u-1"


async def test_a_key_serves_the_algorithm_that_it_is_made_for() -> None:
    published = Published(RSA)
    published.keys[0]["alg"] = "PS256"
    asked = callers(published)
    for alg, believed in (("PS256", True), ("RS256", False)):
        headers = bearing(token(alg=alg))
        await asked.ready(headers)
        if believed:
            assert asked.of(headers).principal["id"] == "u-1"
        else:
            with pytest.raises(RunError):
                asked.of(headers)


async def test_what_a_set_of_keys_shows_beside_public_keys_is_not_used() -> None:
    """A shared secret, a small key, two for encryption, one off its curve, a broken one, one of an unknown type."""
    published = Published(RSA)
    good = published.keys[0]
    published.keys += [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        good | {"kid": "small", "n": good["n"][:171]},
        good | {"kid": "encrypts", "use": "enc"},
        good | {"kid": "wraps", "key_ops": ["wrapKey"]},
        EC.as_dict(private=False) | {"kid": "off", "x": "AQ"},
        {"kty": "RSA", "kid": "broken", "n": 5, "e": "AQAB"},
        {"kty": "AKP", "kid": "newer"},
        "no key",
    ]
    asked = callers(published)
    provider = asked.providers[ISSUER]
    await provider.ready("rsa")
    kids = ["oct", "small", "encrypts", "wraps", "off", "broken", "newer"]
    assert {kid: provider.keys(kid) for kid in kids} == {kid: [] for kid in kids}
    assert len(provider.keys("rsa")) == 1
