"""TLS for the listener (PS3.15 Annex B: the profiles after BCP 195, which is RFC 9325)."""

from __future__ import annotations

import ssl

from services.common.errors import Unavailable
from services.common.settings import DicomTlsSettings

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption alone (RFC 9325 4.2); those of TLS 1.3 are all so."""

_VERIFY = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def server_context(settings: DicomTlsSettings) -> ssl.SSLContext | None:
    """What the secure port speaks, TLS 1.2 or 1.3 and nothing older; None where no certificate is set.

    Raises:
        Unavailable: a file cannot be read, or the key is not the certificate's.
    """
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_mode = _VERIFY[settings.client_certificates]
    try:
        context.load_cert_chain(settings.certificate, settings.key, _no_password)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
    except OSError as exc:
        raise Unavailable(f"the files for TLS cannot be used: {exc.strerror or exc}") from exc
    return context


def _no_password() -> str:
    """Nobody is there to type one: without this OpenSSL would ask the terminal."""
    raise Unavailable("the key for TLS is encrypted; it has to be in the clear, readable by its owner alone")
