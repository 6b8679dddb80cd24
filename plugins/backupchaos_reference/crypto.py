"""Keys, sealing and names: scrypt, AES-256-GCM, keyed BLAKE2b.

The password opens a random master key that lies sealed in the repository's configuration; so a wrong password is
told apart from damage, and the password could be changed without touching the data.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backupchaos_reference.errors import AccessError, IntegrityError

_NONCE = 12
DEFAULT_SCRYPT_N = 1 << 14


def _wrapping_key(password: str, parameters: dict[str, Any]) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=base64.b64decode(parameters["salt"]),
        n=int(parameters["n"]),
        r=int(parameters["r"]),
        p=int(parameters["p"]),
        maxmem=256 << 20,
        dklen=32,
    )


def new_key(password: str, scrypt_n: int) -> dict[str, Any]:
    """A new random master key, sealed with `password`: what a repository's configuration stores."""
    parameters = {"n": scrypt_n, "r": 8, "p": 1, "salt": base64.b64encode(os.urandom(16)).decode()}
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(_wrapping_key(password, parameters)).encrypt(nonce, os.urandom(64), b"master")
    return {"scrypt": parameters, "sealed": base64.b64encode(nonce + sealed).decode()}


class Box:
    """Seals, opens and names the pieces of one repository."""

    def __init__(self, password: str, key: dict[str, Any]) -> None:
        """Raises AccessError when the password is wrong."""
        sealed = base64.b64decode(key["sealed"])
        try:
            master = AESGCM(_wrapping_key(password, key["scrypt"])).decrypt(
                sealed[:_NONCE], sealed[_NONCE:], b"master"
            )
        except InvalidTag:
            raise AccessError("the repository's password is wrong (BACKUPCHAOS_REFERENCE_PASSWORD)") from None
        self._cipher = AESGCM(master[:32])
        self._name_key = master[32:]
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._decompressor = zstandard.ZstdDecompressor()

    def name(self, data: bytes) -> str:
        """The content address of `data`: 64 hexadecimal digits that nobody without the key can compute."""
        return hashlib.blake2b(data, digest_size=32, key=self._name_key).hexdigest()

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Compress, encrypt and bind to `purpose`, so that a piece under another's name does not open."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, self._compressor.compress(data), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The reverse of `seal`.  Raises IntegrityError when anything at all is different."""
        try:
            packed = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
            return self._decompressor.decompress(packed)
        except (InvalidTag, ValueError, zstandard.ZstdError):
            raise IntegrityError(
                f"{purpose} is damaged: it does not open with the repository's key"
            ) from None
