"""HTTP to a scoring server: timeouts, retries with backoff and jitter, bounded concurrency, and the server's own words.

Every request is bounded in time, answer and all, and may be sent again, since scoring changes nothing on the server.
Connections that fail, 429 and 502 to 504 are tried again until `retry_for` seconds have passed; a time-out, 500, or an
answer that breaks off may be the request's own fault and is tried three times. Other refusals are final.
"""

import asyncio
import email.utils
import json
import random
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medprm_scorer.errors import InputError, ServerError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

_PATIENT = frozenset({429, 502, 503, 504})  # the server, or one before it, is busy or away
_BRIEF = 3  # most tries of what may fail for ever
_LONGEST_PAUSE = 15.0  # seconds
_LONGEST_WORDS = 300  # characters of a server's message
_IDS = re.compile(r"\[?(?:-?\d+,\s*){3,}-?\d+\]?")


@dataclass(frozen=True)
class Limits:
    """How patient a client is, and how much it asks for at once.

    Args:
        timeout: Seconds for one request, from its first byte to the last of its answer.
        connect_timeout: Seconds for a connection.
        retry_for: Seconds during which failed requests are tried again; 0 for never.
        concurrency: Most requests under way at once.
        first_pause: Most seconds before the first new try; each later pause is twice as long, up to 15 s.

    Raises:
        InputError: One of them is out of range.
    """

    timeout: float = 300.0
    connect_timeout: float = 10.0
    retry_for: float = 120.0
    concurrency: int = 16
    first_pause: float = 0.5

    def __post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "first_pause"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"{name} must be a positive number of seconds")
        if not isinstance(self.retry_for, int | float) or not 0 <= self.retry_for < float("inf"):
            raise InputError("retry_for must be a number of seconds, 0 for never")
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise InputError("concurrency must be a whole number of at least 1")


class RefusedError(ServerError):
    """The server understood the request and will not answer it; another try would not help."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnavailableError(ServerError):
    """The server is away or fails: one try did not work, and another may."""

    def __init__(self, message: str, *, brief: bool = False, pause: float | None = None) -> None:
        super().__init__(message)
        self.brief, self.pause = brief, pause


class Client:
    """Asks one server. All of its coroutines belong to one event loop.

    Args:
        url: Such as `http://127.0.0.1:8000`; a path before the server's own is kept.
        api_key: Sent as a bearer token; None for none.
        verify: False to trust any certificate (never outside a test), or an `ssl.SSLContext` with your own.
        limits: Time and concurrency.

    Raises:
        InputError: The URL is none, or the API key has characters that a header cannot hold.
        ServerError: httpx or tenacity is not installed.
    """

    def __init__(self, url: str, api_key: str | None, verify: bool | ssl.SSLContext, limits: Limits) -> None:
        self.url, self._limits = _checked(url), limits
        if api_key is not None and not re.fullmatch(r"[\x21-\x7e]+", api_key):
            raise InputError("the API key must be ASCII without spaces")
        self._httpx = _httpx()
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._verify = verify
        self._http: httpx.AsyncClient | None = None
        self._turns: asyncio.Semaphore | None = None
        self._home: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:  # the key stays out
        return f"Client({self.url})"

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path; errors as in `post`."""
        return await self._patiently("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a JSON body.

        Raises:
            RefusedError: The server says no, with its own words.
            ServerError: It is away, or answers nonsense, and went on doing so.
        """
        return await self._patiently("POST", path, json.dumps(body, separators=(",", ":"), allow_nan=False).encode())

    async def close(self) -> None:
        """Close every connection."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    def _open(self) -> "tuple[httpx.AsyncClient, asyncio.Semaphore]":
        """The connections, made on the loop that uses them, and anew after a fork."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._turns is None or self._home is not loop:
            limits = self._httpx.Limits(
                max_connections=self._limits.concurrency, max_keepalive_connections=self._limits.concurrency
            )
            timeout = self._httpx.Timeout(self._limits.timeout, connect=self._limits.connect_timeout)
            self._http = self._httpx.AsyncClient(
                headers=self._headers, verify=self._verify, limits=limits, timeout=timeout, follow_redirects=False
            )
            self._turns, self._home = asyncio.Semaphore(self._limits.concurrency), loop
        return self._http, self._turns

    async def _patiently(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        from tenacity import AsyncRetrying, retry_if_exception_type

        failing: list[float] = []  # since when; a long request's own time is not time that the server was away

        def stop(state: "RetryCallState") -> bool:
            error, now = _failure(state), time.monotonic()
            failing.append(now)
            late = now - failing[0] + state.upcoming_sleep >= self._limits.retry_for
            return late or (error.brief and state.attempt_number >= _BRIEF)

        http, turns = self._open()
        async with turns:  # kept between tries, so that a server that is away is not asked by ever more requests
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(UnavailableError), stop=stop, wait=self._pause, reraise=True
            )
            return await retrying(self._once, http, method, path, body)

    def _pause(self, state: "RetryCallState") -> float:
        """Seconds before the next try: at random between half of the longest pause and all; more if the server asks."""
        longest = min(self._limits.first_pause * 2.0 ** min(state.attempt_number - 1, 30), _LONGEST_PAUSE)
        return max(random.uniform(longest / 2, longest), _failure(state).pause or 0.0)

    async def _once(self, http: "httpx.AsyncClient", method: str, path: str, body: bytes | None) -> dict[str, Any]:
        where = f"the server at {self.url}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            response = await asyncio.wait_for(
                http.request(method, self.url + path, content=body, headers=headers), self._limits.timeout
            )
        except (asyncio.TimeoutError, self._httpx.ReadTimeout, self._httpx.WriteTimeout):
            message = f"{where} did not answer {path} within {self._limits.timeout:g} s"
            raise UnavailableError(message, brief=True) from None
        except (self._httpx.RemoteProtocolError, self._httpx.DecodingError) as error:
            raise UnavailableError(f"{where} broke off its answer to {path}: {_words(str(error))}") from None
        except self._httpx.TransportError as error:
            reason = _words(str(error)) or type(error).__name__
            if isinstance(error.__cause__ and error.__cause__.__cause__, ssl.SSLCertVerificationError):
                raise ServerError(f"{where} has no certificate that can be trusted: {reason}") from None
            raise UnavailableError(f"{where} cannot be reached: {reason}") from None
        if response.status_code != 200:
            message = f"{where} answered {path} with {response.status_code}: {_reason(response.text)}"
            if response.status_code in _PATIENT:
                raise UnavailableError(message, pause=_retry_after(response.headers.get("Retry-After")))
            if response.status_code >= 500 and response.status_code != 501:
                raise UnavailableError(message, brief=True)
            raise RefusedError(message, response.status_code)
        try:
            answer = json.loads(response.content)
        except ValueError:  # also what is no UTF-8
            raise UnavailableError(f"{where} answered {path} with something that is no JSON", brief=True) from None
        if not isinstance(answer, dict):
            raise ServerError(f"{where} answered {path} with JSON that is no object")
        return answer


def _failure(state: "RetryCallState") -> UnavailableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, UnavailableError)  # nothing else is tried again
    return error


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; None if it says nothing."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, when.timestamp() - time.time())


def _reason(text: str) -> str:
    """What an error's body says, whichever of the usual forms it has."""
    try:
        body = json.loads(text)
    except ValueError:
        return _words(text) or "no reason given"
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message", inner.get("detail")) if isinstance(inner, dict) else inner
        if isinstance(said, list):  # what is wrong with each field; their values stay out
            said = "; ".join(str(entry.get("msg", "")) for entry in said if isinstance(entry, dict))
        if isinstance(said, str):
            return _words(said) or "no reason given"
    return "no reason given"


def _words(text: str) -> str:
    """A server's words, on one line, not too long, and without lists of ids: those are text in another alphabet."""
    line = " ".join(_IDS.sub("[...]", text).split())
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return line if len(line) <= _LONGEST_WORDS else line[:_LONGEST_WORDS] + "..."


def _checked(url: str) -> str:
    if not isinstance(url, str):
        raise InputError(f"the server's URL must be a text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
        raise InputError("the server's URL must look like http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise InputError("the server's URL must not hold a password: pass api_key")
    if parts.query or parts.fragment:
        raise InputError("the server's URL must end with its path")
    return url.rstrip("/").removesuffix("/v1")


def _httpx() -> Any:
    try:
        import httpx
        import tenacity  # noqa: F401 - so that a missing one is told of before any work
    except ModuleNotFoundError as error:
        raise ServerError(f'a vLLM server needs the package {error.name}: pip install "medprm[vllm]"') from None
    return httpx
