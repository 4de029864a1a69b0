"""A request that takes effect once, at a service with idempotency keys. Copy this file.

docs/clients.md of idem explains it. It needs Python 3.10 and no packages.
"""

import hashlib
import itertools
import json
import random
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit


def key_of(space: str, operation: str, id: str) -> str:
    """The key of an intent. The same words have the same key in every process, and in `idem_client` for Rust."""
    texts = [text.encode() for text in ("idem-client/1", space, operation, id)]
    digest = hashlib.sha256(b"".join(struct.pack(">Q", len(text)) + text for text in texts)).digest()
    bits = bytearray(digest[:16])
    bits[6], bits[8] = bits[6] & 0x0F | 0x80, bits[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(bits)))


@dataclass(frozen=True)
class Answer:
    """An answer of the application, with any status."""

    status: int
    headers: Message
    body: bytes

    @property
    def is_recorded(self) -> bool:
        """Whether the same request gets this answer again."""
        return "idempotency-expires" in self.headers or "idempotency-replayed" in self.headers

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document, or nothing."""
        if self.headers.get_content_type() != "application/problem+json":
            return {}
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class Refused(Exception):
    """The service refuses the request because of its key, and will refuse it again."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("title"))
        self.name = _name(problem)
        #: Whether another key can't double the effect.
        self.safe_new_key: bool = problem["safe_new_key"]


class Unfinished(Exception):
    """Nobody knows whether the request has had its effect. Ask again, later, with the same key and the same body."""


def once(
    url: str,
    key: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    within: float = 60,
    attempt: float = 10,
) -> Answer:
    """Sends the request until there is an answer, for at most `within` seconds.

    A call of the operating system may take `attempt` seconds. So may each read of an answer that comes in small pieces.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not a URL of HTTP: {url}")
    deadline = time.monotonic() + within
    headers = {**headers, "idempotency-key": key}
    # Whether an earlier attempt may have had the effect.
    is_in_doubt = False
    for attempts in itertools.count():
        wait, last = 0.0, "no answer"
        try:
            left = max(deadline - time.monotonic(), 0.001)
            answer = _send(method, url, headers, body, min(attempt, left))
        except (OSError, HTTPException) as error:
            is_in_doubt, last = True, repr(error)
        else:
            last, problem = f"status {answer.status}", answer.problem
            if not _is_temporary(answer):
                if problem.get("retryable") is False and "safe_new_key" in problem:
                    raise Refused(problem)
                says_nothing = not (200 <= answer.status < 300 or answer.is_recorded)
                if is_in_doubt and says_nothing:
                    raise Unfinished(last)
                return answer
            is_in_doubt |= problem.get("safe_new_key") is not True and answer.status != 429
            wait = _retry_after(answer.headers)
        pause = max(wait, random.uniform(0, min(10, 0.2 * 2**attempts)))
        if time.monotonic() + pause >= deadline:
            raise Unfinished(last)
        time.sleep(pause)
    raise AssertionError("the loop has no end")


def _is_temporary(answer: Answer) -> bool:
    """Whether the same request can get another answer."""
    if answer.is_recorded or answer.problem.get("retryable") is False:
        return False
    if answer.status == 409:
        return _name(answer.problem) == "in-flight"
    return answer.status in (408, 425, 429) or answer.status >= 500


def _name(problem: Mapping[str, Any]) -> str:
    """The last part of the problem's type."""
    return str(problem.get("type", "")).replace("#", "/").rpartition("/")[2]


def _retry_after(headers: Message) -> float:
    """The seconds until the next attempt, at least."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, (until.astimezone(timezone.utc) - datetime.now(timezone.utc)).total_seconds())


def _send(method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer:
    """Sends the request once. Redirects are not followed: otherwise a key could have an effect at two hosts."""
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        if response.length is None and not response.chunked:
            # http.client takes an answer that breaks off in its headers for a whole one.
            raise HTTPException("the answer has no length")
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
