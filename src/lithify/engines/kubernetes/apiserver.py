"""One connection to a Kubernetes API server: credentials by the official client, answers as plain JSON, errors as ours.

The typed models of the client are left aside: they cost a second to import and lose the fields that they don't know.
What is used of it has been the same for years: its reading of kubeconfig files (with exec plugins, proxies and tokens
that are renewed), its in-cluster configuration, its connection pool and its WebSockets.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from lithify.errors import Conflict, EngineRefused, EngineUnreachable, NothingToExamine, NotPermitted, UsageError
from lithify.model.path import printable

Json = dict[str, Any]
Query = Mapping[str, str | int | bool | None]
_T = TypeVar("_T")

_ATTEMPTS = 4
_LONGEST_PAUSE = 5.0
_CONNECT = 5.0
"""Seconds for a connection to come about; what it carries has its own limit."""
_TRANSIENT = frozenset((429, 500, 502, 503, 504))
_ANSWER_LIMIT = 1 << 28
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request."""

    status: int
    body: bytes

    @property
    def json(self) -> Json:
        """The object in it; EngineRefused where there is none, as from a proxy's error page."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EngineRefused(
                f"the API server answered {self.status} with what is no JSON object: {printable(self.words[:200])}",
                hint="does the address of the context lead to an API server?",
            )
        return found

    @property
    def details(self) -> Json:
        """The Status object of a refusal; empty where there is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) and found.get("kind") == "Status" else {}

    @property
    def words(self) -> str:
        """What the server says about it, in its own words."""
        return str(self.details.get("message") or "") or self.body[:500].decode("utf-8", "replace").strip()


@dataclass(slots=True, kw_only=True)
class ApiServer:
    """The API server of one context; for one thread at a time."""

    host: str
    context: str
    """The context's name; `in-cluster` where a service account gave the credentials."""
    namespace: str
    """What the context says; `default` where it says nothing."""
    _configuration: Any
    _pool: Any
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    """The latest `Warning:` headers: unknown fields, deprecated versions, admission that only warns."""

    @classmethod
    def connect(cls, *, kubeconfig: str | None = None, context: str | None = None) -> "ApiServer":
        """Return a connection by `kubeconfig`, $KUBECONFIG, ~/.kube/config or the pod's service account, in that order.

        Nothing is sent yet. UsageError where a file or context that was named is not there or is no such thing,
        EngineUnreachable where nothing says which cluster, or the client is not installed.
        """
        try:
            from kubernetes.client.api_client import ApiClient
            from kubernetes.client.configuration import Configuration
        except ImportError as error:
            raise EngineUnreachable(
                "the Kubernetes client is not installed", hint="pip install 'lithify[kubernetes]'"
            ) from error
        configuration = Configuration()
        configuration.retries = False
        named = kubeconfig or os.environ.get("KUBECONFIG") or ""
        path = named or str(Path.home() / ".kube" / "config")
        if named or context or os.path.exists(path):
            name, namespace = _by_file(path, context, configuration)
        elif os.environ.get("KUBERNETES_SERVICE_HOST"):
            name, namespace = "in-cluster", _by_service_account(configuration)
        else:
            raise EngineUnreachable(
                "nothing says which cluster: no ~/.kube/config, no KUBECONFIG, and this is no pod",
                hint="name a file with --kubeconfig",
            )
        pool = ApiClient(configuration).rest_client.pool_manager
        return cls(
            host=str(configuration.host).rstrip("/"),
            context=name,
            namespace=namespace,
            _configuration=configuration,
            _pool=pool,
        )

    def close(self) -> None:
        """Close its connections."""
        self._pool.clear()

    def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 60.0,
        accepted: tuple[int, ...] = (),
    ) -> Answer:
        """Return the answer to one request; one that is no success is raised, unless its status is in `accepted`.

        Reads are tried again, up to four times with pauses, when the server is busy or out of reach; changes only
        when it said that it did nothing (429), or could not be reached at all.
        """
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = self._send(method, path, query, data, content_type, accept, timeout)
            except EngineUnreachable as error:
                if last or not _may_repeat(method, error.__cause__):
                    raise
                pause = 0.1 * 2**attempt
            else:
                with closing(response):
                    answer = Answer(response.status, self._read(response, _ANSWER_LIMIT))
                    retry = response.headers.get("Retry-After", "")
                if answer.status < 300 or answer.status in accepted:
                    return answer
                if last or not (answer.status == 429 or (method == "GET" and answer.status in _TRANSIENT)):
                    raise refusal(answer, method, path)
                pause = float(retry) if retry.isdecimal() else 0.1 * 2**attempt
            time.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("the last attempt returns or raises")

    def lines(self, path: str, query: Query, *, timeout: float) -> Iterator[bytes]:
        """Yield the lines of an answer that goes on, until the server or `timeout` ends it."""
        deadline = time.monotonic() + timeout
        response = self._send("GET", path, query, None, "", "application/json", timeout)
        with closing(response):
            if response.status >= 300:
                raise refusal(Answer(response.status, self._read(response, _ANSWER_LIMIT)), "GET", path)
            pending = b""
            while (left := deadline - time.monotonic()) > 0:
                chunk = self._chunk(response, left)
                if not chunk:
                    break
                *whole, pending = (pending + chunk).split(b"\n")
                yield from whole
        if pending:
            yield pending

    def tail(self, path: str, query: Query, *, limit: int, timeout: float) -> bytes:
        """Return the last `limit` bytes of a plain answer."""
        response = self._send("GET", path, query, None, "", "*/*", timeout)
        kept = bytearray()
        with closing(response):
            if response.status >= 300:
                raise refusal(Answer(response.status, self._read(response, 1 << 20)), "GET", path)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0 and (chunk := self._chunk(response, left)):
                kept += chunk
                if len(kept) > 2 * limit:
                    del kept[:-limit]
        return bytes(kept[-limit:])

    def websocket(self, path: str, query: list[tuple[str, str]]) -> Any:
        """Return an open WebSocket that speaks the channels of exec; whoever calls closes it."""
        import websocket

        scheme, rest = self.host.split("://", 1)
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}?{urlencode(query)}"
        before = websocket.getdefaulttimeout()
        websocket.setdefaulttimeout(_CONNECT)
        try:
            return import_module("kubernetes.stream.ws_client").create_websocket(
                self._configuration, url, self._authorization()
            )
        except websocket.WebSocketBadStatusException as error:
            body = error.resp_body or b""
            answer = Answer(error.status_code, body if isinstance(body, bytes) else str(body).encode())
            raise refusal(answer, "POST", path) from error
        except (OSError, websocket.WebSocketException) as error:
            raise self._unreachable(error) from error
        finally:
            websocket.setdefaulttimeout(before)

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        data: bytes | None,
        content_type: str,
        accept: str,
        timeout: float,
    ) -> Any:
        import urllib3

        headers = {"Accept": accept, "User-Agent": "lithify", **self._authorization()}
        if data is not None:
            headers["Content-Type"] = content_type
        words = {key: _word(value) for key, value in (query or {}).items() if value is not None and value != ""}
        url = f"{self.host}{path}" + (f"?{urlencode(words)}" if words else "")
        try:
            response = self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT, read=timeout),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        self.warnings.extend(response.headers.getlist("Warning"))
        return response

    def _read(self, response: Any, limit: int) -> bytes:
        import urllib3

        try:
            data: bytes = response.read(limit + 1, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        if len(data) > limit:
            raise EngineRefused(f"{self.host} answered with more than {limit >> 20} MiB", hint="ask for less of it")
        return data

    def _chunk(self, response: Any, left: float) -> bytes:
        """Return what comes next, nothing at the end or when the time is over."""
        import urllib3

        connection = getattr(response, "connection", None) or getattr(response, "_connection", None)
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(max(left, 0.01))
        try:
            data: bytes = response.read1(1 << 16, decode_content=True)
        except urllib3.exceptions.ReadTimeoutError:
            return b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        return data

    def _authorization(self) -> dict[str, str]:
        configuration = self._configuration
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        # Up to version 34 of the client the key is called `authorization` and carries its own prefix.
        for name in ("BearerToken", "authorization"):
            if key := configuration.api_key.get(name):
                prefix = configuration.api_key_prefix.get(name)
                return {"authorization": f"{prefix} {key}" if prefix else key}
        if configuration.username and configuration.password is not None:
            return {"authorization": str(configuration.get_basic_auth_token())}
        return {}

    def _unreachable(self, error: BaseException) -> EngineUnreachable:
        reason = printable(str(getattr(error, "reason", None) or error))
        return EngineUnreachable(
            f"no answer from {self.host} (context {self.context}): {reason[:300]}",
            hint="is it running, and is the context the right one? see `kubectl cluster-info`",
        )


def refusal(answer: Answer, method: str, path: str) -> Exception:
    """Return the error of ours that a status stands for, with the server's words and what to do."""
    words = printable(answer.words[:2000])
    status = answer.status
    if status == 401:
        return NotPermitted(f"the API server does not know us: {words}", hint="renew the credentials of the context")
    if status == 403:
        return NotPermitted(f"the API server forbids it: {words}", hint=f"missing: {missing_right(method, path)}")
    if status == 404:
        return NothingToExamine(f"the API server has no such thing: {words}", hint="see name, namespace and version")
    if status == 409:
        return Conflict(f"the API server met a conflict: {words}", hint="look at the object, then run it again")
    if status in (400, 422):
        return EngineRefused(f"the API server refused it: {words}", hint="mend what it names")
    if status in _TRANSIENT and status != 500:  # 500 has words, as of a field that apply does not know
        return EngineUnreachable(f"the API server can't answer ({status}): {words}", hint="try again later")
    return EngineRefused(f"the API server answered {status}: {words}", hint="see what it says")


_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def missing_right(method: str, path: str) -> str:
    """Return the right that a request needs, in the words of RBAC: verb, resource, group, namespace.

    >>> missing_right("GET", "/apis/apps/v1/namespaces/shop/deployments")
    'the right to list deployments.apps in namespace shop'
    """
    parts = [part for part in urlsplit(path).path.split("/") if part]
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return f"the right to {_VERBS.get(method, method.lower())} the path {path}"
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return f"the right to get the path {path}"
    resource = rest[0] + (f".{group}" if group else "") + (f"/{rest[2]}" if len(rest) > 2 else "")
    verb = "list" if method == "GET" and len(rest) == 1 else _VERBS.get(method, method.lower())
    return f"the right to {verb} {resource}" + (f" in namespace {namespace}" if namespace else " in every namespace")


def segment(name: str) -> str:
    """Return `name` fit to stand between two slashes of a path."""
    return quote(name, safe="")


def _word(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _may_repeat(method: str, error: BaseException | None) -> bool:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError

    if isinstance(error, SSLError):
        return False
    return method == "GET" or isinstance(error, NewConnectionError | ConnectTimeoutError)


def _by_file(path: str, context: str | None, configuration: Any) -> tuple[str, str]:
    """Fill `configuration` from kubeconfig files; return the context's name and its namespace."""
    config: Any = import_module("kubernetes.config")  # without types of its own

    def read() -> tuple[str, str]:
        contexts, active = config.list_kube_config_contexts(config_file=path)
        chosen = next((one for one in contexts if one["name"] == context), None) if context else active
        if chosen is None:
            known = ", ".join(sorted(str(one["name"]) for one in contexts))
            raise UsageError(f"no context {context!r} in {printable(path)}", hint=f"there are: {printable(known)}")
        config.load_kube_config(config_file=path, context=str(chosen["name"]), client_configuration=configuration)
        return str(chosen["name"]), str((chosen.get("context") or {}).get("namespace") or "default")

    return _reading(path, read, config.ConfigException)


def _by_service_account(configuration: Any) -> str:
    config: Any = import_module("kubernetes.config")

    def read() -> str:
        config.load_incluster_config(client_configuration=configuration)
        return (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or "default"

    return _reading("the pod's service account", read, config.ConfigException)


def _reading(place: str, read: Callable[[], _T], foreign: type[Exception]) -> _T:
    import yaml

    try:
        return read()
    except (foreign, OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = printable(" ".join(str(error).split()) or type(error).__name__)
        raise UsageError(
            f"{printable(place)} can't be used: {reason[:300]}", hint="does `kubectl` work with it?"
        ) from error
