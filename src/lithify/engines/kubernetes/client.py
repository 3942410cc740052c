"""A Kubernetes cluster: objects as plain JSON, by any kind that its server has; no decision is made here.

    with Cluster.connect(context="test") as cluster:
        pods = cluster.resource("v1", "Pod")
        for pod in cluster.objects(pods, "shop", label_selector="app=web"):
            print(cluster.logs(pod["metadata"]["name"], "shop"))

Where there is no such object, `get` gives None and `delete` False; everything else that is no success is raised:
EngineUnreachable (no answer), NotPermitted (401, 403: the hint names verb and resource), NothingToExamine (404),
Conflict (409), EngineRefused (400, 422: admission and strict decoding, in the server's words).
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lithify.engines.base import Exit
from lithify.engines.kubernetes.apiserver import ApiServer, Json, Query, segment
from lithify.engines.kubernetes.streams import ERRORS, OUTPUT, STATUS, Streams
from lithify.engines.process import TIMED_OUT
from lithify.errors import EngineRefused, EngineUnreachable, NothingToExamine
from lithify.model.path import printable

MANAGER = "lithify"
"""Who we are in `managedFields`."""
_PAGE = 250
"""Objects asked for at once: pods of some 10 KB, so that a page stays within a few megabytes."""
_RESTARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of objects, as the server offers it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    singular: str = ""

    @property
    def group(self) -> str:
        """Its API group; nothing for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """Return its path: of all its objects, of those in `namespace`, or of one."""
        base = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{segment(namespace)}"
        return "/".join(part for part in (base, self.plural, segment(name or ""), subresource) if part)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD = Resource(api_version="v1", kind="Pod", plural="pods", namespaced=True)
NAMESPACE = Resource(api_version="v1", kind="Namespace", plural="namespaces", namespaced=False)


class Cluster:
    """One cluster, by one context; for one thread at a time."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self._resources: dict[str, tuple[Resource, ...]] = {}
        self._groups: list[str] | None = None

    @classmethod
    def connect(cls, *, kubeconfig: str | None = None, context: str | None = None) -> "Cluster":
        """Return the cluster of a context, as ApiServer.connect finds it; nothing is sent yet."""
        return cls(ApiServer.connect(kubeconfig=kubeconfig, context=context))

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def name(self) -> str:
        """The context's name."""
        return self.server.context

    @property
    def namespace(self) -> str:
        """The context's namespace."""
        return self.server.namespace

    def version(self) -> str:
        """Return the server's version, as `v1.36.3`; the cheapest question that shows whether it answers."""
        return str(self.server.ask("GET", "/version", timeout=10.0).json.get("gitVersion", ""))

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return how the server calls a kind; NothingToExamine where it has none of that name."""
        for resource in self.resources(api_version):
            if resource.kind == kind:
                return resource
        raise NothingToExamine(
            f"the cluster has no kind {printable(kind)} in {printable(api_version)}",
            hint="is the custom resource definition installed?",
        )

    def find(self, name: str) -> Resource:
        """Return the kind that kubectl would take `name` for: `deploy`, `Deployment`, `deployments.apps`."""
        wanted, _, group = name.partition(".")
        wanted = wanted.lower()
        for api_version in self._versions():
            if group and group != api_version.rpartition("/")[0] and group != api_version.replace("/", "."):
                continue
            for resource in self.resources(api_version):
                if wanted in (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names):
                    return resource
        raise NothingToExamine(f"the cluster has no kind {printable(name)}", hint="see kubectl api-resources")

    def resources(self, api_version: str) -> tuple[Resource, ...]:
        """Return every kind of one version of a group; empty where the server does not have it."""
        if api_version not in self._resources:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            answer = self.server.ask("GET", path, accepted=(404, 503))
            found = answer.json.get("resources") or [] if answer.status == 200 else []
            self._resources[api_version] = tuple(
                _resource(api_version, one) for one in found if "/" not in str(one.get("name", "/"))
            )
        return self._resources[api_version]

    def get(self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str = "") -> Json | None:
        """Return an object; None where there is none of that name."""
        answer = self.server.ask(
            "GET", resource.path(self._place(resource, namespace), name, subresource), accepted=(404,)
        )
        return None if answer.status == 404 else answer.json

    def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = _PAGE,
    ) -> Iterator[list[Json]]:
        """Yield all objects, page by page, each once; without `namespace` those of every namespace.

        A list that outlives the server's memory of it (410 Expired) goes on by the token that the server gives with
        it, or begins anew and leaves out what was given before.
        """
        query: Query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": page}
        return (items for items, _ in self._lists(resource, namespace, query))

    def _lists(self, resource: Resource, namespace: str | None, query: Query) -> Iterator[tuple[list[Json], str]]:
        """Yield the pages of a list, each with the `resourceVersion` that a watch can go on from."""
        path = resource.path(namespace)
        given: set[str] = set()
        token, restarts = "", 0
        while True:
            answer = self.server.ask("GET", path, {**query, "continue": token}, accepted=(410,))
            if answer.status == 410:
                restarts += 1
                if restarts > _RESTARTS:
                    raise EngineUnreachable(
                        f"the list of {resource} changed faster than it could be read", hint="try again, or name less"
                    )
                token = str((answer.details.get("metadata") or {}).get("continue") or "")
                continue
            found = answer.json
            items = [one for one in found.get("items") or [] if isinstance(one, dict) and _new(one, given)]
            for one in items:
                # Items of a list don't say what they are.
                one.setdefault("apiVersion", resource.api_version)
                one.setdefault("kind", resource.kind)
            metadata = found.get("metadata") or {}
            yield items, str(metadata.get("resourceVersion") or "")
            token = str(metadata.get("continue") or "")
            if not token:
                return

    def objects(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> Iterator[Json]:
        """Yield the objects of `pages` one by one."""
        for items in self.pages(resource, namespace, label_selector=label_selector, field_selector=field_selector):
            yield from items

    def create(self, manifest: Mapping[str, Any], namespace: str | None = None, *, dry_run: bool = False) -> Json:
        """Make an object; Conflict where it is there. A field that its kind does not have is refused."""
        resource, place, _ = self._address(manifest, namespace)
        return self.server.ask("POST", resource.path(place), _writing(dry_run), dict(manifest)).json

    def replace(self, manifest: Mapping[str, Any], namespace: str | None = None, *, dry_run: bool = False) -> Json:
        """Put an object in the place of what is there; Conflict where that changed since `resourceVersion`."""
        resource, place, name = self._address(manifest, namespace)
        return self.server.ask("PUT", resource.path(place, name), _writing(dry_run), dict(manifest)).json

    def apply(
        self,
        manifest: Mapping[str, Any],
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
        manager: str = MANAGER,
        subresource: str = "",
    ) -> Json:
        """Apply server-side: make it, or set the fields that `manifest` has.

        Conflict where another manager owns one of them, unless `force`. A field that its kind does not have is
        refused (`fieldValidation=Strict`).
        """
        resource, place, name = self._address(manifest, namespace)
        return self.server.ask(
            "PATCH",
            resource.path(place, name, subresource),
            {**_writing(dry_run, manager), "force": force},
            dict(manifest),
            content_type="application/apply-patch+yaml",  # JSON is YAML
        ).json

    def patch(
        self,
        resource: Resource,
        name: str,
        change: Mapping[str, Any] | Sequence[Any],
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        strategic: bool = False,
        subresource: str = "",
    ) -> Json:
        """Change an object: a mapping is merged (RFC 7396, or by the kind's own keys where `strategic`), a list is a
        JSON patch (RFC 6902).
        """
        kind = "json" if not isinstance(change, Mapping) else "strategic-merge" if strategic else "merge"
        return self.server.ask(
            "PATCH",
            resource.path(self._place(resource, namespace), name, subresource),
            _writing(dry_run),
            change,
            content_type=f"application/{kind}-patch+json",
        ).json

    def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, grace: int | None = None, uid: str = ""
    ) -> bool:
        """Have an object removed with what it owns, and don't wait for it; False where there was none of that name.

        With `uid` only that very object: Conflict where another one has taken its name.
        """
        body: Json = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid:
            body["preconditions"] = {"uid": uid}
        path = resource.path(self._place(resource, namespace), name)
        return self.server.ask("DELETE", path, None, body, accepted=(404,)).status != 404

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        timeout: float,
        since: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Iterator[tuple[str, Json]]:
        """Yield what happens to objects as (ADDED, MODIFIED or DELETED, object) for `timeout` seconds at most.

        Without `since` (a `resourceVersion`) it begins with what is there. It goes on by itself where the server ends
        the stream early; where it no longer knows `since` it begins anew with what is there, as ADDED.
        """
        deadline = time.monotonic() + timeout
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        while (left := deadline - time.monotonic()) > 0:
            if not since:
                # Listed first: a watch that begins by itself is refused where etcd is older than the API server wants.
                for items, version in self._lists(resource, namespace, {**selectors, "limit": _PAGE}):
                    since = version
                    yield from (("ADDED", item) for item in items)
            query: Query = {
                **selectors,
                "watch": True,
                "allowWatchBookmarks": True,
                "resourceVersion": since,
                "timeoutSeconds": max(int(left), 1),
            }
            began = time.monotonic()
            for line in self.server.lines(resource.path(namespace), query, timeout=left):
                event = json.loads(line)
                found = event.get("object") or {}
                if event.get("type") == "ERROR":
                    if found.get("code") != 410:
                        raise EngineRefused(
                            f"the watch of {resource} ended: {printable(str(found.get('message')))}", hint="try again"
                        )
                    since = ""
                    break
                since = str((found.get("metadata") or {}).get("resourceVersion") or since)
                if event.get("type") != "BOOKMARK":
                    yield str(event.get("type")), found
            time.sleep(max(0.0, min(0.5 - (time.monotonic() - began), deadline - time.monotonic())))

    def logs(
        self,
        pod: str,
        namespace: str,
        container: str = "",
        *,
        previous: bool = False,
        limit: int = 1 << 20,
        timeout: float = 30.0,
    ) -> bytes:
        """Return the last `limit` bytes of what a container said, of its last start or the one before.

        EngineRefused (400) where it has not started yet, or never ran before.
        """
        query: Query = {"container": container, "previous": previous or None}
        return self.server.tail(POD.path(namespace, pod, "log"), query, limit=limit, timeout=timeout)

    def execute(
        self,
        pod: str,
        namespace: str,
        command: Sequence[str],
        *,
        container: str = "",
        timeout: float = 30.0,
        limit: int = 1 << 24,
        apart: bool = False,
    ) -> Exit:
        """Run `command` in a container, both streams as they come, or `apart`, each up to `limit` bytes; code 124 where
        it took longer, 127 where it could not be started. What ran out of time goes on inside: Kubernetes has no way to
        end it.
        """
        deadline = time.monotonic() + timeout
        streams = self.streams(pod, namespace, command, container=container)
        output, status = bytearray(), b""
        errors = bytearray() if apart else output
        kept = {OUTPUT: output, ERRORS: errors}
        try:
            while (received := streams.receive(deadline)) is not None:
                channel, data = received
                if (stream := kept.get(channel)) is not None:
                    stream += data[: max(limit - len(stream), 0)]
                elif channel == STATUS:
                    status += data
        except TimeoutError:
            return Exit(code=TIMED_OUT, output=bytes(output), errors=bytes(errors if apart else b""))
        except EngineUnreachable:
            if not status:
                raise
        finally:
            streams.close()
        ended = _exit(status, bytes(output))
        return replace(ended, errors=bytes(errors)) if apart else ended

    def streams(
        self, pod: str, namespace: str, command: Sequence[str], *, container: str = "", talks: bool = False
    ) -> Streams:
        """Start `command` in a container and return its standard streams; it reads what it is sent where it `talks`."""
        query = [("container", container)] if container else []
        query += [("stdin", "true")] if talks else []
        query += [("stdout", "true"), ("stderr", "true"), *(("command", word) for word in command)]
        socket = self.server.websocket(POD.path(namespace, pod, "exec"), query)
        return Streams(socket, self.server.host, pod)

    def allows(self, verb: str, resource: Resource, namespace: str | None = None, *, subresource: str = "") -> bool:
        """Ask the server whether we may; for a check before a long piece of work."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "subresource": subresource,
            "namespace": namespace or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.server.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", None, review).json
        return bool((answer.get("status") or {}).get("allowed"))

    def _versions(self) -> list[str]:
        """Return every version of every group: the core first, then as the server prefers them."""
        if self._groups is None:
            groups = self.server.ask("GET", "/apis").json.get("groups") or []
            preferred = [str((one.get("preferredVersion") or {}).get("groupVersion", "")) for one in groups]
            others = [str(version.get("groupVersion", "")) for one in groups for version in one.get("versions") or []]
            self._groups = list(dict.fromkeys(["v1", *preferred, *others]))
        return self._groups

    def _address(self, manifest: Mapping[str, Any], namespace: str | None) -> tuple[Resource, str | None, str]:
        metadata = manifest.get("metadata") or {}
        resource = self.resource(str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))
        place = self._place(resource, namespace or metadata.get("namespace"))
        return resource, place, str(metadata.get("name") or "")

    def _place(self, resource: Resource, namespace: str | None) -> str | None:
        return (namespace or self.namespace) if resource.namespaced else None


def _resource(api_version: str, found: Mapping[str, Any]) -> Resource:
    return Resource(
        api_version=api_version,
        kind=str(found.get("kind", "")),
        plural=str(found.get("name", "")),
        namespaced=bool(found.get("namespaced")),
        short_names=tuple(found.get("shortNames") or ()),
        singular=str(found.get("singularName") or ""),
    )


def _writing(dry_run: bool, manager: str = MANAGER) -> dict[str, str | int | bool | None]:
    return {"fieldManager": manager, "fieldValidation": "Strict", "dryRun": "All" if dry_run else None}


def _new(item: Mapping[str, Any], given: set[str]) -> bool:
    """Tell whether an item comes for the first time, and remember it."""
    uid = str((item.get("metadata") or {}).get("uid") or "")
    if not uid:
        return True
    before = len(given)
    given.add(uid)
    return len(given) > before


def _exit(status: bytes, output: bytes) -> Exit:
    """Return how a command ended by the Status object that comes last."""
    try:
        found = json.loads(status)
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    if found.get("status") == "Success":
        return Exit(code=0, output=output)
    for cause in (found.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and re.fullmatch(r"\d+", str(cause.get("message"))):
            return Exit(code=int(cause["message"]), output=output)
    # The runtime could not start it: its words are all there is.
    return Exit(code=127, output=output + str(found.get("message") or "").encode())
