"""HTTP to a scoring server: timeouts, retries with backoff and jitter, limits on concurrency and answer size.

Every request has a time limit, including its answer, and may be sent again, since scoring changes nothing on the
server. Failed connections, 429 and 502 to 504 are retried until `retry_for` seconds have passed. A timeout, 500, or an
answer that breaks off may be the request's own fault and is tried three times. Other refusals are final. Answers are
never decompressed, since a small body may hold gigabytes. Redirects are not followed. A proxy from the environment is
used only for https, where it cannot read the traffic.
"""

import asyncio
import email.utils
import json
import logging
import math
import random
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medprm_scorer.errors import InputError, ServerError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

logger = logging.getLogger("medprm")

_BUSY = frozenset({429, 502, 503, 504})  # the server, or one in front of it, is busy or unreachable
_MOST_TRIES = 3  # for failures that may be permanent
_BETWEEN_WARNINGS = 10.0  # seconds
_LONGEST_PAUSE = 15.0  # seconds
_LONGEST_MESSAGE = 300  # characters of a server's message
_LARGEST_ANSWER = 16 * 2**20  # bytes; 512 results take less than a hundredth of that
_BAD_URL = "the server's URL must look like http://127.0.0.1:8000"
_IDS = re.compile(r"\[?(?:-?\d+,\s*){3,}-?\d+\]?")


@dataclass(frozen=True)
class ClientConfig:
    """Time limits, retries and concurrency of a client.

    Args:
        timeout: Seconds for one request, from its first byte to the last of its answer.
        connect_timeout: Seconds for a connection.
        retry_for: Seconds for which failed requests are retried; 0 for no retries.
        concurrency: Most simultaneous requests.
        first_pause: Most seconds before the first retry; each later pause is twice as long, up to 15 s.
        deadline: Seconds for all requests of one call together, however many wait for their turn; None for no limit
            but those above.

    Raises:
        InputError: One of them is out of range.
    """

    timeout: float = 300.0
    connect_timeout: float = 10.0
    retry_for: float = 120.0
    concurrency: int = 16
    first_pause: float = 0.5
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "first_pause", "deadline"):
            value = getattr(self, name)
            if name == "deadline" and value is None:
                continue
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"{name} must be a positive number of seconds")
        if not isinstance(self.retry_for, int | float) or not 0 <= self.retry_for < float("inf"):
            raise InputError("retry_for must be a number of seconds, 0 for never")
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise InputError("concurrency must be a whole number of at least 1")


class RefusedError(ServerError):
    """The server understood the request and refused it; a retry would not help."""

    def __init__(self, message: str, status: int = 400) -> None:  # the default is for copying and pickling
        super().__init__(message)
        self.status = status


class UnavailableError(ServerError):
    """The server is unreachable or fails: one try did not work, but another may."""

    def __init__(self, message: str, *, retry_limited: bool = False, pause: float | None = None) -> None:
        super().__init__(message)
        self.retry_limited, self.pause = retry_limited, pause


class Client:
    """Sends requests to one server. All of its coroutines belong to one event loop.

    Args:
        url: Such as `http://127.0.0.1:8000`; a path prefix is kept.
        api_key: Sent as a bearer token; None for no key.
        verify: False to trust any certificate (never outside a test), or an `ssl.SSLContext` with your own.
        config: Time and concurrency.

    Raises:
        InputError: The URL is invalid, the API key has characters that a header cannot hold, or `verify` has another
            type.
        ServerError: httpx or tenacity is not installed.
    """

    def __init__(self, url: str, api_key: str | None, verify: bool | ssl.SSLContext, config: ClientConfig) -> None:
        self.url, self._config = _checked(url), config
        self.deadline = config.deadline
        if api_key is not None and not (isinstance(api_key, str) and re.fullmatch(r"[\x21-\x7e]+", api_key)):
            raise InputError("the API key must be ASCII without spaces")
        if not isinstance(verify, bool | ssl.SSLContext):
            raise InputError("verify must be True, False or an ssl.SSLContext")
        self._httpx = _httpx()
        try:
            _ = self._httpx.URL(self.url).host
        except (self._httpx.InvalidURL, ValueError):  # too long, or no host's name
            raise InputError(_BAD_URL) from None
        self._headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self._verify = verify
        self._http: httpx.AsyncClient | None = None
        self._slots: asyncio.Semaphore | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._told = -math.inf

    def __repr__(self) -> str:  # without the key
        return f"Client({self.url})"

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path; errors as in `post`."""
        return await self._request_with_retries("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object returned for a JSON body.

        Raises:
            RefusedError: The server refuses, with its own message.
            ServerError: It is unreachable or sends invalid answers, repeatedly.
        """
        return await self._request_with_retries(
            "POST", path, json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    def _open(self) -> "tuple[httpx.AsyncClient, asyncio.Semaphore]":
        """The connections, made on the loop that uses them; another loop, as after a fork, gets new ones.

        Raises:
            InputError: The environment names a proxy or certificates that cannot be used.
        """
        loop = asyncio.get_running_loop()
        if self._http is None or self._slots is None or self._home is not loop:
            limits = self._httpx.Limits(
                max_connections=self._config.concurrency, max_keepalive_connections=self._config.concurrency
            )
            timeout = self._httpx.Timeout(self._config.timeout, connect=self._config.connect_timeout)
            try:
                self._http = self._httpx.AsyncClient(
                    headers=self._headers,
                    verify=self._verify,
                    limits=limits,
                    timeout=timeout,
                    follow_redirects=False,
                    trust_env=self.url.startswith("https:"),
                )
            except (OSError, ImportError, ValueError, self._httpx.InvalidURL) as error:
                raise InputError(_setup_problem(error)) from None
            self._slots, self._home = asyncio.Semaphore(self._config.concurrency), loop
        return self._http, self._slots

    async def _request_with_retries(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        from tenacity import AsyncRetrying, retry_if_exception_type

        # When each try failed. Time counts from the first failure: until then the server was reachable, only slow.
        failures: list[float] = []

        def stop(state: "RetryCallState") -> bool:
            error, now = _failure(state), time.monotonic()
            failures.append(now)
            late = now - failures[0] + state.upcoming_sleep >= self._config.retry_for
            return late or (error.retry_limited and state.attempt_number >= _MOST_TRIES)

        def tell(state: "RetryCallState") -> None:
            if time.monotonic() - self._told >= _BETWEEN_WARNINGS:
                self._told = time.monotonic()
                left = max(0.0, self._config.retry_for - (self._told - failures[0]))
                long = f"for up to {left:.0f} s" if not _failure(state).retry_limited else f"{_MOST_TRIES} times in all"
                logger.warning("the server at %s fails; trying again, %s", self.url, long)

        http, slots = self._open()
        async with slots:  # kept between tries, so that requests to an unreachable server do not pile up
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(UnavailableError),
                stop=stop,
                wait=self._pause,
                before_sleep=tell,
                reraise=True,
            )
            return await retrying(self._request, http, method, path, body)

    def _pause(self, state: "RetryCallState") -> float:
        """Seconds before the next try: random, from half of the longest pause to all of it; more if the server asks."""
        longest = min(self._config.first_pause * 2.0 ** min(state.attempt_number - 1, 30), _LONGEST_PAUSE)
        return max(random.uniform(longest / 2, longest), _failure(state).pause or 0.0)

    async def _request(self, http: "httpx.AsyncClient", method: str, path: str, body: bytes | None) -> dict[str, Any]:
        """One try."""
        server = f"the server at {self.url}"
        try:
            status, headers, content = await asyncio.wait_for(
                self._exchange(http, method, path, body), self._config.timeout
            )
        except (asyncio.TimeoutError, self._httpx.ReadTimeout, self._httpx.WriteTimeout):
            message = f"{server} did not answer {path} within {self._config.timeout:g} s"
            raise UnavailableError(message, retry_limited=True) from None
        except self._httpx.RemoteProtocolError as error:
            raise UnavailableError(f"{server} broke off its answer to {path}: {_shorten(str(error))}") from None
        except self._httpx.TransportError as error:
            reason = _shorten(str(error)) or type(error).__name__
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
                raise ServerError(f"{server} has no certificate that can be trusted: {reason}") from None
            if isinstance(error, self._httpx.ConnectError) and any(map(_is_no_tls, _causes(error))):
                raise ServerError(f"{server} does not speak TLS as we do, or speaks http: {reason}") from None
            raise UnavailableError(f"{server} cannot be reached: {reason}") from None
        if status != 200:
            message = f"{server} answered {path} with {status}: {_reason(content or b'')}"
            if status in _BUSY:
                raise UnavailableError(message, pause=_retry_after(headers.get("Retry-After")))
            if status >= 500 and status != 501:
                raise UnavailableError(message, retry_limited=True)
            if status in (401, 403):
                message += "; its key goes into VLLM_API_KEY, or api_key= in Python"
            raise RefusedError(message, status)
        if content is None:
            size = _LARGEST_ANSWER // 2**20
            raise ServerError(
                f"{server} answered {path} with more than {size} MiB, or compressed, which was not asked for"
            )
        try:
            answer = json.loads(content, object_pairs_hook=_without_doubles)
        except _DoubledKeyError:
            raise ServerError(f"{server} answered {path} with JSON in which a key occurs twice") from None
        except (ValueError, RecursionError):  # also for invalid UTF-8
            message = f"{server} answered {path} with something that is not JSON"
            raise UnavailableError(message, retry_limited=True) from None
        if not isinstance(answer, dict):
            raise ServerError(f"{server} answered {path} with JSON that is not an object")
        return answer

    async def _exchange(
        self, http: "httpx.AsyncClient", method: str, path: str, body: bytes | None
    ) -> "tuple[int, httpx.Headers, bytes | None]":
        """Status, headers and body of an answer; no body if it is too large, or compressed."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with http.stream(method, self.url + path, content=body, headers=headers) as response:
            content = bytearray()
            if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                return response.status_code, response.headers, None
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _LARGEST_ANSWER:
                    return response.status_code, response.headers, None
            return response.status_code, response.headers, bytes(content)


class _DoubledKeyError(ValueError):
    """A JSON object has a key twice: parsers differ in which one they use."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DoubledKeyError
    return found


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; some libraries record them as cause, others as context."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_no_tls(error: BaseException) -> bool:
    """Whether a handshake failed by what the other side speaks; one that breaks off is another matter, and may pass."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    )


def _setup_problem(error: Exception) -> str:
    """Why no connections can be made; a proxy's URL, which may hold a password, stays out."""
    if isinstance(error, OSError):
        files = "SSL_CERT_FILE, SSL_CERT_DIR or SSLKEYLOGFILE"
        return f"a file that the environment names in {files} cannot be used: {error.strerror or type(error).__name__}"
    if isinstance(error, ImportError):
        return 'the environment names a SOCKS proxy, which needs the package socksio: pip install "httpx[socks]"'
    return "the environment names a proxy (HTTPS_PROXY, ALL_PROXY, NO_PROXY) whose URL is none"


def _failure(state: "RetryCallState") -> UnavailableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, UnavailableError)  # nothing else is retried
    return error


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; None if there is none."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, when.timestamp() - time.time())


def _reason(content: bytes) -> str:
    """The message in an error's body, in any of the usual forms."""
    text = content[: 2**16].decode(errors="replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _shorten(text) or "no reason given"
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message", inner.get("detail")) if isinstance(inner, dict) else inner
        if isinstance(said, list):  # what is wrong with each field, without the values
            said = "; ".join(str(entry.get("msg", "")) for entry in said if isinstance(entry, dict))
        if isinstance(said, str):
            return _shorten(said) or "no reason given"
    return "no reason given"


def _shorten(text: str) -> str:
    """A server's message, on one line, shortened, and without lists of token ids, which are text in another form."""
    line = " ".join(_IDS.sub("[...]", text).split())
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "..."


def _checked(url: str) -> str:
    if not isinstance(url, str):
        raise InputError(f"the server's URL must be a text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
        raise InputError(_BAD_URL)
    if parts.username or parts.password:
        raise InputError("the server's URL must not hold a password: pass api_key")
    if parts.query or parts.fragment:
        raise InputError("the server's URL must end with its path")
    return url.rstrip("/").removesuffix("/v1")


def _httpx() -> Any:
    try:
        import httpx
        import tenacity  # noqa: F401 - so that a missing package is an error before any work
    except ModuleNotFoundError as error:
        raise ServerError(f'a vLLM server needs the package {error.name}: pip install "medprm[vllm]"') from None
    return httpx
