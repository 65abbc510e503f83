import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmprov.errors import InventoryError
from llmprov.workflows.certificates import (
    Pair,
    authority_outdated,
    check_own,
    client_context,
    issue,
    make_authority,
    outdated,
)

NOW = datetime.now(UTC)
NAMES = ("gpu1", "10.0.0.21", "llm.example.org")


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_authority("rack-7", NOW)


@pytest.fixture(scope="module")
def server(authority: Pair) -> Pair:
    return issue(authority, NAMES, NOW)


def handshake(pair: Pair, context: ssl.SSLContext, name: str, directory: Path) -> None:
    """Let a client verify a server over a socket pair, as the gateway's clients do."""
    (directory / "crt").write_bytes(pair.certificate)
    (directory / "key").write_bytes(pair.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(directory / "crt", directory / "key")
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with serving.wrap_socket(far, server_side=True) as secured:
                secured.recv(1)
        except OSError:
            return  # the client did not like it

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context.wrap_socket(near, server_hostname=name) as secured:
            secured.send(b"x")
    finally:
        near.close()
        thread.join(timeout=5)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_verifies_the_server_by_each_of_its_names(
    authority: Pair, server: Pair, name: str, tmp_path: Path
) -> None:
    handshake(server, client_context(authority.certificate), name, tmp_path)


@pytest.mark.parametrize(
    ("signer", "name", "reason"),
    [("authority", "gpu9", "gpu9"), ("authority", "10.0.0.99", "10.0.0.99"), ("other", "gpu1", "unable to get local")],
)
def test_a_client_refuses_another_name_and_another_authority(
    authority: Pair, server: Pair, signer: str, name: str, reason: str, tmp_path: Path
) -> None:
    trusted = authority if signer == "authority" else make_authority("other", NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        handshake(server, client_context(trusted.certificate), name, tmp_path)


def test_a_certificate_is_kept_until_there_is_a_reason(authority: Pair, server: Pair) -> None:
    assert not outdated(server, authority, NAMES, NOW)
    assert not outdated(server, authority, NAMES[:1], NOW), "a name more than needed is no reason"
    assert "gpu3" in outdated(server, authority, (*NAMES, "gpu3"), NOW)
    assert not outdated(server, authority, NAMES, NOW + timedelta(days=366))
    assert "ends on" in outdated(server, authority, NAMES, NOW + timedelta(days=368))
    assert "another authority" in outdated(server, make_authority("rack-7", NOW), NAMES, NOW)


def test_an_authority_signs_for_years_and_never_beyond_its_end(authority: Pair) -> None:
    assert not authority_outdated(authority, NOW + timedelta(days=3600))
    assert authority_outdated(authority, NOW + timedelta(days=3630))
    late = issue(authority, NAMES, NOW + timedelta(days=3600))
    assert late.first.not_valid_after_utc <= authority.first.not_valid_after_utc


def test_an_operators_certificate_is_checked(authority: Pair, server: Pair) -> None:
    check_own(server, "tls.pem", NOW)
    other = issue(authority, NAMES, NOW)
    with pytest.raises(InventoryError, match=r"tls.pem: the key is not the certificate's"):
        check_own(Pair(server.certificate, other.key), "tls.pem", NOW)
    with pytest.raises(InventoryError, match="ended on"):
        check_own(server, "tls.pem", NOW + timedelta(days=400))
    with pytest.raises(InventoryError, match="no certificate and key"):
        check_own(Pair(b"hello", server.key), "tls.pem", NOW)


def test_keys_are_not_in_what_is_printed(server: Pair) -> None:
    assert "PRIVATE" not in repr(server)
