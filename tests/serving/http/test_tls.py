"""A server over TLS: its clients check whom they speak to, and files that do not fit are told before it starts."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from typer.testing import CliRunner

from sluicegate.cli.serve import app
from sluicegate.errors import RunError
from sluicegate.serving.http.server import Certificate
from sluicegate.serving.limits import Limits
from tests.support.processes import PROCESSES
from tests.support.stand import WORKFLOW, serve_alone


def made(folder: Path, name: str = "own", locked: KeySerializationEncryption | None = None) -> Certificate:
    """A certificate of the loopback address that signs itself, valid for a day."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    found.chain.write_bytes(signed.public_bytes(Encoding.PEM))
    found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked or NoEncryption()))
    return found


@pytest.mark.slow
def test_a_server_with_a_certificate_speaks_tls_only(tmp_path: Path) -> None:
    certificate, other = made(tmp_path), made(tmp_path, "other")
    mine, its = PROCESSES.Pipe()
    home = os.environ["SLUICEGATE_HOME"]
    process = PROCESSES.Process(target=serve_alone, args=(home, Limits(grace_s=0), its.send, certificate))
    process.start()
    try:
        assert mine.poll(60)
        address = mine.recv()
        assert address.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate.chain)
        with httpx.Client(base_url=address, verify=trusting, headers={"x-user": "ann"}, timeout=30) as client:
            assert client.post("/v1/runs", json={"text": "How?"}).json()["status"] == "answered"
        with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
            httpx.get(f"{address}/healthz", verify=ssl.create_default_context(cafile=other.chain))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address.replace('https', 'http')}/healthz")
        old = ssl.create_default_context(cafile=certificate.chain)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/healthz", verify=old)
    finally:
        process.terminate()
        process.join(60)
    assert process.exitcode == 0


def test_files_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    own, other = made(tmp_path), made(tmp_path, "other")
    locked = made(tmp_path, "locked", BestAvailableEncryption(b"secret"))
    nothing = tmp_path / "nothing.pem"
    nothing.touch()
    for certificate in (
        Certificate(own.chain, other.key),
        Certificate(nothing, own.key),
        Certificate(tmp_path / "absent.pem", own.key),
        locked,
    ):
        with pytest.raises(RunError, match="cannot be used for TLS") as refused:
            certificate.check()
        assert refused.value.code == "SG624"
    own.check()


def test_a_certificate_comes_with_its_key() -> None:
    said = CliRunner().invoke(app, [str(WORKFLOW / "workflow.yaml"), "--as", "ann", "--tls-certificate", "chain.pem"])
    assert isinstance(said.exception, RunError)
    assert said.exception.code == "SG624"
