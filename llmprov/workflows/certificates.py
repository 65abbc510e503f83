"""Certificates of the gateway: an authority of its own, and what it signs. Pure functions; the time is given."""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from llmprov.errors import InventoryError

RENEW_BEFORE = timedelta(days=30)
_AUTHORITY_LIFE = timedelta(days=3650)
# What browsers and Apple's clients take at most is 398 days.
_CERTIFICATE_LIFE = timedelta(days=397)
# Clocks of clients may be behind.
_BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate (with those above it) and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def first(self) -> x509.Certificate:
        """The certificate itself, without those above it."""
        return x509.load_pem_x509_certificates(self.certificate)[0]


def make_authority(name: str, now: datetime) -> Pair:
    """Make a certificate authority that signs itself.

    Args:
        name: of the cluster; people see it in their list of authorities.
        now: when it begins.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"llmprov {name} gateway CA"[:64])])
    usage = _usage(signs_certificates=True)
    certificate = (
        _builder(subject, subject, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(authority: Pair, names: Sequence[str], now: datetime) -> Pair:
    """Make a server's certificate.

    Args:
        authority: who signs.
        names: host names and addresses of the server.
        now: when it begins.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not one that llmprov made")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "llmprov gateway")])
    issuer = authority.first
    life = min(_CERTIFICATE_LIFE, issuer.not_valid_after_utc - now)
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, life)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    return _pair(certificate, key)


def outdated(pair: Pair, authority: Pair, names: Sequence[str], now: datetime) -> str:
    """Say why a certificate has to be made anew; empty when it has not."""
    certificate = pair.first
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    try:
        certificate.verify_directly_issued_by(authority.first)
    except (ValueError, TypeError, InvalidSignature):
        return "another authority signed it"
    missing = [name for name in names if _general(name) not in _names(certificate)]
    return f"it lacks {', '.join(missing)}" if missing else ""


def authority_outdated(authority: Pair, now: datetime) -> bool:
    """Tell whether an authority ends so soon that it cannot sign for a whole term any more."""
    return authority.first.not_valid_after_utc - now < RENEW_BEFORE


def check_own(pair: Pair, where: str, now: datetime) -> None:
    """Check an operator's certificate and key.

    Raises:
        InventoryError: one cannot be read, they do not belong together, or the certificate is over.
    """
    remedy = "set cluster_gateway_tls_certificate and cluster_gateway_tls_key to PEM files that belong together"
    try:
        certificate = pair.first
        key = serialization.load_pem_private_key(pair.key, None)
    except (ValueError, TypeError) as error:
        raise InventoryError(f"{where}: no certificate and key in PEM: {error}", remedy=remedy) from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise InventoryError(f"{where}: the key is not the certificate's", remedy=remedy)
    if certificate.not_valid_after_utc <= now:
        raise InventoryError(
            f"{where}: the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}", remedy="renew it"
        )


def client_context(authority: bytes | None) -> ssl.SSLContext:
    """Return how a client verifies the gateway: by its own authority, or by those that the system trusts."""
    if authority is None:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=authority.decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
