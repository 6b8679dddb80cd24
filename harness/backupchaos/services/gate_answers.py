"""How servers of each protocol say no: status, headers and body, as clients expect and decide on them.

S3 clients read the code in the XML body (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html),
others the status alone. What a key that was taken back gets is ``InvalidAccessKeyId``: the keys of a
run are static ones, and only temporary ones can become an ``ExpiredToken``.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Literal
from xml.sax.saxutils import escape

from backupchaos.services.misdeeds import Misdeed

Dialect = Literal["s3", "rest", "webdav"]

_S3_CODES = {
    500: ("InternalError", "We encountered an internal error. Please try again."),
    501: ("NotImplemented", "A header you provided implies functionality that is not implemented."),
    503: ("ServiceUnavailable", "Service is unable to handle request."),
    507: ("InsufficientStorage", "There is not enough space to complete the request."),
}
_S3_THROTTLED = {
    503: ("SlowDown", "Please reduce your request rate."),
    429: ("TooManyRequests", "Please reduce your request rate."),
}
_S3_REFUSED = (
    "InvalidAccessKeyId",
    "The AWS Access Key Id you provided does not exist in our records.",
)


def status_of(misdeed: Misdeed, dialect: Dialect) -> int:
    """The status of the answer; refused credentials have one that the protocol fixes."""
    if misdeed.what == "credentials":
        return 403 if dialect == "s3" else 401
    return misdeed.status


def refusal(misdeed: Misdeed, dialect: Dialect, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers, body) of the answer to a request that ``misdeed`` refuses; ``path`` without query."""
    status = status_of(misdeed, dialect)
    headers: list[tuple[str, str]] = []
    if misdeed.what == "throttle":
        # Whole seconds: RFC 9110 knows no others, and a client that reads 0 would come back at once.
        headers.append(("Retry-After", str(max(1, round(misdeed.retry_after)))))
    if status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="repository"'))
    if dialect == "s3":
        body = _s3_body(misdeed, status, path, headers)
    else:
        body = f"{phrase(status)}\n".encode()
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    headers.append(("Content-Length", str(len(body))))
    return status, headers, body


def phrase(status: int) -> str:
    """The words of a status; of an unregistered one those of its class."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Internal Server Error"


def _s3_body(misdeed: Misdeed, status: int, path: str, headers: list[tuple[str, str]]) -> bytes:
    if misdeed.what == "credentials":
        code, message = _S3_REFUSED
    elif misdeed.what == "throttle":
        code, message = _S3_THROTTLED.get(status, _S3_THROTTLED[503])
    else:
        code, message = _S3_CODES.get(status, _S3_CODES[500])
    request = secrets.token_hex(8).upper()
    headers += [("Content-Type", "application/xml"), ("x-amz-request-id", request)]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        f"<Resource>{escape(path)}</Resource><RequestId>{request}</RequestId></Error>"
    ).encode()
