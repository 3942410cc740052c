"""Pods to run, read from Kubernetes manifests, with the config maps and secrets that they refer to."""

import base64
import binascii
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lithify.documents.nodes import to_python
from lithify.documents.yaml import Broken, read_documents
from lithify.errors import InvalidInput
from lithify.model.location import Key, Route
from lithify.model.path import container_path, printable
from lithify.model.pod import (
    Pod,
    PodContainer,
    PodMount,
    PodVolume,
    Role,
    Security,
    Variable,
    VolumeFile,
    VolumeKind,
)
from lithify.model.quantity import parse_quantity
from lithify.model.run import Probe
from lithify.model.workload import Workload
from lithify.sources.manifest import read_manifest

LATE_FIELDS = frozenset(("status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs", "spec.nodeName"))
"""Downward API values that only a running pod has."""

_FILE_KINDS = ("configMap", "secret", "downwardAPI", "projected")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What the API server takes as the name of a container or volume; it becomes a part of paths here."""
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_INDEX, _INDEX_VARIABLE = "batch.kubernetes.io/job-completion-index", "JOB_COMPLETION_INDEX"
_ANY_UID = "00000000-0000-4000-8000-000000000000"


@dataclass
class Objects:
    """Config maps and secrets by kind and name: those of the file first, then those that were given beside it."""

    found: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)

    def add(self, path: str, data: bytes) -> None:
        """Take in what a file holds; what is there already stays. InvalidInput where one can't be read."""
        for document in read_documents(data):
            if isinstance(document, Broken):
                continue  # whoever reads the workloads says so
            try:
                value = to_python(document.root)
            except ValueError:
                continue
            for item in _flattened(value):
                if item.get("kind") in ("ConfigMap", "Secret"):
                    name = _mapping(item.get("metadata")).get("name")
                    self.found.setdefault((item["kind"], str(name)), _data_of(path, item))

    def get(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        """Return what a config map or secret holds."""
        return self.found.get((kind, name))


def read_pods(path: str, data: bytes, objects: Objects | None = None) -> tuple[Pod, ...]:
    """Return the pods that a manifest describes, in the order of the file.

    InvalidInput where a document can't be read, where a field is not what Kubernetes takes, and where a pod refers to
    a config map or secret that is nowhere to be found and not optional.
    """
    known = Objects()
    known.add(path, data)
    for key, values in (objects or Objects()).found.items():
        known.found.setdefault(key, values)
    roots = {document.index: document.root for document in read_documents(data) if not isinstance(document, Broken)}
    reading = read_manifest(path, data)
    for oddity in reading.oddities:
        raise InvalidInput(f"{oddity.location}: {oddity.message}", hint="make it a manifest that kubectl reads")
    return tuple(
        _PodReader(workload, roots[workload.location.document], known).read()
        for workload in reading.workloads
        if workload.containers and not workload.not_applicable
    )


class _Fields:
    """The fields of one mapping of a manifest, each taken as the type that it has to be."""

    def __init__(self, value: object, where: str) -> None:
        self.where = where
        if value is not None and not isinstance(value, dict):
            raise _wrong(where, "a mapping")
        self.values: Mapping[str, Any] = value or {}

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise _wrong(f"{self.where}.{key}", "text")
        return value

    def name(self) -> str:
        text = self.text("name")
        if not _NAME.fullmatch(text):
            raise _wrong(f"{self.where}.name ({printable(text)})", "a name of lower case letters, digits and dashes")
        return text

    def number(self, key: str) -> int | None:
        value = self.values.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _wrong(f"{self.where}.{key}", "a whole number")
        return value

    def switch(self, key: str) -> bool | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise _wrong(f"{self.where}.{key}", "true or false")
        return value

    def below(self, key: str) -> "_Fields":
        return _Fields(self.values.get(key), f"{self.where}.{key}")

    def each(self, key: str) -> Iterator["_Fields"]:
        for index, item in enumerate(self._list(key)):
            yield _Fields(item, f"{self.where}.{key}[{index}]")

    def words(self, key: str) -> tuple[str, ...]:
        items = self._list(key)
        if not all(isinstance(item, str) for item in items):
            raise _wrong(f"{self.where}.{key}", "a list of text")
        return tuple(items)

    def numbers(self, key: str) -> tuple[int, ...]:
        items = self._list(key)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            raise _wrong(f"{self.where}.{key}", "a list of whole numbers")
        return tuple(items)

    def texts(self, key: str) -> dict[str, str]:
        return {name: str(value) for name, value in self.below(key).values.items() if value is not None}

    def quantity(self, key: str) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return parse_quantity(str(value))
        except (ValueError, OverflowError) as error:
            raise _wrong(f"{self.where}.{key}", "a quantity such as 64Mi") from error

    def path(self, key: str) -> PurePosixPath | None:
        text = self.text(key)
        if not text:
            return None
        try:
            return container_path(posixpath.normpath(text))
        except ValueError as error:
            raise _wrong(f"{self.where}.{key}", "an absolute path") from error

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            raise _wrong(f"{self.where}.{key}", "a list")
        return value or []


class _PodReader:
    """Reads one pod of a workload."""

    def __init__(self, workload: Workload, root: Any, objects: Objects) -> None:
        self.workload = workload
        self.objects = objects
        label = str(workload.name)
        self.where = f"{workload.location}: {label}"
        try:
            document = to_python(root)
        except ValueError as error:
            raise InvalidInput(f"{self.where}: {error}", hint="make it a manifest that kubectl reads") from error
        self.object = _at(document, workload.location.route)
        self.route = workload.location.route + workload.pod
        self.spec = _Fields(_at(document, self.route), f"{self.where}: {'.'.join(map(str, workload.pod))}")
        self.metadata = _Fields(_at(document, self.route[:-1]) or {}, self.where).below("metadata")
        holder = _at(document, self.route[:-2]) if len(workload.pod) > 1 else None
        self.indexed = isinstance(holder, dict) and holder.get("completionMode") == "Indexed"
        """It is one of a job's that each have a number, which their controller tells them."""
        self.notes: list[str] = []

    def read(self) -> Pod:
        name = str(self.workload.name)
        security = self.spec.below("securityContext")
        self._notice()
        fields = self._fields()
        volumes = tuple(self._volumes(fields))
        containers = tuple(self._containers(security, fields))
        subject = self.workload.name.name or "pod"
        return Pod(
            name=name,
            document=self.workload.location.document,
            containers=containers,
            volumes=volumes,
            hostname=self.spec.text("hostname") or fields["metadata.name"][:63].rstrip("-.") or subject,
            fs_group=security.number("fsGroup"),
            groups=security.numbers("supplementalGroups"),
            fields=fields,
            hosts=tuple((alias.text("ip"), alias.words("hostnames")) for alias in self.spec.each("hostAliases")),
            sysctls={each.text("name"): each.text("value") for each in security.each("sysctls")},
            restart_policy=self.spec.text("restartPolicy", "Always"),
            cannot_show=tuple(dict.fromkeys(self.notes)),
        )

    def _notice(self) -> None:
        """Write down what the pod asks for that one host's engine does not give."""
        for key, what in (
            ("hostNetwork", "it asks for the host's network and had one of its own"),
            ("hostPID", "it asks for the host's processes and saw its own only"),
            ("hostIPC", "it asks for the host's shared memory and had its own"),
            ("runtimeClassName", "its runtime class was not used"),
            ("shareProcessNamespace", "its containers did not see each other's processes"),
        ):
            if self.spec.values.get(key):
                self.notes.append(what)
        for container in self.spec.each("ephemeralContainers"):
            self.notes.append(f"ephemeral container {container.text('name')} is not run")

    def _fields(self) -> dict[str, str]:
        """Return the downward API's values, by the name that `fieldPath` has for them."""
        name = self.workload.name.name or "pod"
        namespace = self.workload.name.namespace or "default"
        kind = self.workload.name.kind
        pod_name = name if kind == "Pod" else f"{name}-0" if kind == "StatefulSet" else f"{name}-lithify"
        fields = {
            "metadata.name": pod_name,
            "metadata.namespace": namespace,
            "metadata.uid": _ANY_UID,
            "spec.serviceAccountName": self.spec.text("serviceAccountName", "default"),
        }
        for kind in ("labels", "annotations"):
            values = {**self.metadata.texts(kind), **({_INDEX: "0"} if self.indexed else {})}
            for key, value in values.items():
                fields[f"metadata.{kind}['{key}']"] = value
            fields[f"metadata.{kind}"] = "\n".join(f'{key}="{_quoted(v)}"' for key, v in sorted(values.items()))
        return fields

    # Volumes.

    def _volumes(self, fields: Mapping[str, str]) -> Iterator[PodVolume]:
        templates = _Fields(self.object, self.where).below("spec") if isinstance(self.object, dict) else None
        claimed = set()
        if self.workload.name.kind == "StatefulSet" and templates is not None:
            for template in templates.each("volumeClaimTemplates"):
                claimed.add(template.below("metadata").name())
        yield from (PodVolume(name=name, kind=VolumeKind.CLAIM) for name in sorted(claimed))
        for volume in self.spec.each("volumes"):
            if volume.text("name") not in claimed:
                yield self._volume(volume, fields)

    def _volume(self, volume: _Fields, fields: Mapping[str, str]) -> PodVolume:
        name = volume.name()
        kind = next((key for key, value in volume.values.items() if key != "name" and value is not None), "emptyDir")
        source = volume.below(kind)
        if kind == "emptyDir":
            memory = source.text("medium") == "Memory"
            return PodVolume(name=name, kind=VolumeKind.EMPTY, memory=memory, size=source.quantity("sizeLimit"))
        if kind in _FILE_KINDS:
            return PodVolume(name=name, kind=VolumeKind.FILES, files=self._files(kind, source, fields))
        if kind in ("persistentVolumeClaim", "ephemeral"):
            self.notes.append(f"volume {name} was an empty directory of ours, not the claim with its data")
            return PodVolume(name=name, kind=VolumeKind.CLAIM)
        if kind == "image":
            return PodVolume(name=name, kind=VolumeKind.IMAGE, reference=source.text("reference"))
        if kind == "hostPath":
            self.notes.append(f"volume {name} was an empty place of ours, not the node's {source.text('path')}")
            return PodVolume(
                name=name, kind=VolumeKind.HOST, reference=source.text("path"), host_type=source.text("type")
            )
        self.notes.append(f"volume {name} was an empty directory of ours, not storage of kind {kind}")
        return PodVolume(name=name, kind=VolumeKind.UNKNOWN)

    def _files(self, kind: str, source: _Fields, fields: Mapping[str, str]) -> dict[str, VolumeFile]:
        mode = source.number("defaultMode")
        default = 0o644 if mode is None else mode
        if kind != "projected":
            return self._projected(kind, source, default, fields)
        found: dict[str, VolumeFile] = {}
        for each in source.each("sources"):
            for key in each.values:
                found |= self._projected(key, each.below(key), default, fields)
        return found

    def _projected(self, kind: str, source: _Fields, default: int, fields: Mapping[str, str]) -> dict[str, VolumeFile]:
        if kind == "downwardAPI":
            return {
                _file(item): VolumeFile(
                    content=self._downward(item, fields).encode("utf-8", "surrogateescape"), mode=_mode(item, default)
                )
                for item in source.each("items")
            }
        if kind == "serviceAccountToken":
            self.notes.append("its service account token was a stand-in, and there was no API server")
            return {_file(source): VolumeFile(content=b"lithify-stand-in", mode=0o600)}
        if kind not in ("configMap", "secret"):
            self.notes.append(f"what is projected of a {kind} was left out")
            return {}
        name = source.text("secretName") or source.text("name")
        values = self._object("ConfigMap" if kind == "configMap" else "Secret", name, source)
        if not source.has("items"):
            return {key: VolumeFile(content=value, mode=default) for key, value in values.items()}
        found = {}
        for item in source.each("items"):
            value = self._value(values, item.text("key"), name, source)
            if value is not None:
                found[_file(item)] = VolumeFile(content=value, mode=_mode(item, default))
        return found

    def _object(self, kind: str, name: str, source: _Fields) -> Mapping[str, bytes]:
        values = self.objects.get(kind, name)
        if values is None and not source.switch("optional"):
            noun = "config map" if kind == "ConfigMap" else "secret"
            raise InvalidInput(
                f"{source.where} refers to the {noun} {printable(name)}, which is not in the file",
                hint="give the file that has it with --with FILE",
            )
        return values or {}

    def _value(self, values: Mapping[str, bytes], key: str, name: str, source: _Fields) -> bytes | None:
        if key not in values and not source.switch("optional"):
            raise InvalidInput(
                f"{source.where} refers to the key {printable(key)}, which {printable(name)} does not have",
                hint="is it spelt right?",
            )
        return values.get(key)

    def _downward(self, item: _Fields, fields: Mapping[str, str]) -> str:
        if item.has("fieldRef"):
            return fields.get(item.below("fieldRef").text("fieldPath"), "")
        return self._resource(item.below("resourceFieldRef"), item.below("resourceFieldRef").text("containerName"))

    def _resource(self, source: _Fields, container: str) -> str:
        """Return a limit or request of a container in the unit asked for; the node's own where nothing is set."""
        where, _, what = source.text("resource").partition(".")
        for spec in (*self.spec.each("containers"), *self.spec.each("initContainers")):
            if spec.text("name") == container:
                resources = spec.below("resources")
                set_ = resources.below(where).values.get(what, resources.below("limits").values.get(what))
                if set_ is None:
                    return "1"
                try:
                    return str(_divided(str(set_), str(source.values.get("divisor") or "1")))
                except (ValueError, OverflowError) as error:
                    raise _wrong(source.where, "about a quantity, in units of one") from error
        return "1"

    # Containers.

    def _containers(self, pod: _Fields, fields: Mapping[str, str]) -> Iterator[PodContainer]:
        for key in ("initContainers", "containers"):
            for index, container in enumerate(self.spec.each(key)):
                role = Role.APP
                if key == "initContainers":
                    role = Role.SIDECAR if container.text("restartPolicy") == "Always" else Role.INIT
                yield self._container(container, role, (*self.route, key, index), pod, fields)

    def _container(
        self, container: _Fields, role: Role, route: Route, pod: _Fields, fields: Mapping[str, str]
    ) -> PodContainer:
        name = container.name()
        if not container.text("image"):
            raise InvalidInput(f"{container.where} names no image", hint="name one")
        ports = tuple(port for port in container.each("ports") if port.text("protocol", "TCP") == "TCP")
        named = {port.text("name"): port.number("containerPort") or 0 for port in ports if port.has("name")}
        if container.values.get("volumeDevices"):
            self.notes.append(f"container {name} has block devices, which were left out")
        return PodContainer(
            name=name,
            image=container.text("image"),
            role=role,
            route=route,
            command=container.words("command") or None,
            arguments=container.words("args") or None,
            working_directory=container.path("workingDir"),
            environment=tuple(self._environment(container, name, fields)),
            mounts=tuple(self._mounts(container)),
            ports=tuple(port.number("containerPort") or 0 for port in ports),
            memory=container.below("resources").below("limits").quantity("memory"),
            security=_security(pod, container.below("securityContext")),
            probes=tuple(self._probes(container, name, named)),
            post_start=self._post_start(container, name),
        )

    def _environment(self, container: _Fields, name: str, fields: Mapping[str, str]) -> Iterator[Variable]:
        for source in container.each("envFrom"):
            prefix = source.text("prefix")
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if source.has(key):
                    reference = source.below(key)
                    values = self._object(kind, reference.text("name"), reference)
                    for name_, value in values.items():
                        yield Variable(name=prefix + name_, value=_text(value), expands=False)
        for variable in container.each("env"):
            yield from self._variable(variable, name, fields)
        if self.indexed and not any(variable.text("name") == _INDEX_VARIABLE for variable in container.each("env")):
            yield Variable(name=_INDEX_VARIABLE, value="0", expands=False)

    def _variable(self, variable: _Fields, container: str, fields: Mapping[str, str]) -> Iterator[Variable]:
        name = variable.text("name")
        source = variable.below("valueFrom")
        if not source.values:
            yield Variable(name=name, value=variable.text("value"))
            return
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if source.has(key):
                reference = source.below(key)
                values = self._object(kind, reference.text("name"), reference)
                value = self._value(values, reference.text("key"), reference.text("name"), reference)
                if value is not None:
                    yield Variable(name=name, value=_text(value), expands=False)
        if source.has("fieldRef"):
            path = source.below("fieldRef").text("fieldPath")
            if path in LATE_FIELDS:
                yield Variable(name=name, field=path)
            else:
                yield Variable(name=name, value=fields.get(path, ""), expands=False)
        if source.has("resourceFieldRef"):
            reference = source.below("resourceFieldRef")
            owner = reference.text("containerName") or container
            yield Variable(name=name, value=self._resource(reference, owner), expands=False)

    def _mounts(self, container: _Fields) -> Iterator[PodMount]:
        declared = {volume.text("name") for volume in self.spec.each("volumes")}
        if self.workload.name.kind == "StatefulSet" and isinstance(self.object, dict):
            templates = _Fields(self.object, self.where).below("spec").each("volumeClaimTemplates")
            declared |= {template.below("metadata").text("name") for template in templates}
        for mount in container.each("volumeMounts"):
            path, volume = mount.path("mountPath"), mount.text("name")
            if path is None:
                raise _wrong(f"{mount.where}.mountPath", "an absolute path")
            if volume not in declared:
                raise InvalidInput(
                    f"{mount.where} mounts the volume {printable(volume)}, which the pod does not have",
                    hint="is it spelt right?",
                )
            yield PodMount(
                volume=volume,
                path=path,
                read_only=bool(mount.switch("readOnly")),
                sub_path=_below(mount, "subPath"),
                sub_path_expression=_below(mount, "subPathExpr"),
                executable="noexec" not in mount.words("bindMountOptions"),
            )

    def _probes(self, container: _Fields, owner: str, named: Mapping[str, int]) -> Iterator[Probe]:
        for kind in ("startup", "readiness", "liveness"):
            probe = container.below(f"{kind}Probe")
            timeout = float(probe.number("timeoutSeconds") or 1)
            if probe.has("exec"):
                yield Probe(name=kind, command=probe.below("exec").words("command"), timeout=timeout)
            elif probe.has("httpGet"):
                get = probe.below("httpGet")
                headers = tuple((header.text("name"), header.text("value")) for header in get.each("httpHeaders"))
                if get.has("host"):
                    headers = (("Host", get.text("host")), *headers)
                path = get.text("path") or "/"
                yield Probe(
                    name=kind,
                    port=_port(get, named),
                    path=path if path.startswith("/") else f"/{path}",
                    secure=get.text("scheme").upper() == "HTTPS",
                    headers=headers,
                    timeout=timeout,
                )
            elif probe.has("tcpSocket"):
                yield Probe(name=kind, port=_port(probe.below("tcpSocket"), named), timeout=timeout)
            elif probe.has("grpc"):
                self.notes.append(f"the gRPC {kind} probe of {owner} was taken as one that its port accepts")
                yield Probe(name=kind, port=_port(probe.below("grpc"), named), timeout=timeout)

    def _post_start(self, container: _Fields, name: str) -> tuple[str, ...]:
        lifecycle = container.below("lifecycle")
        if lifecycle.has("preStop"):
            self.notes.append(f"what container {name} does before it stops was left out")
        handler = lifecycle.below("postStart")
        if handler.values and not handler.has("exec"):
            self.notes.append(f"what container {name} is sent after its start was left out")
        return handler.below("exec").words("command")


def _security(pod: _Fields, container: _Fields) -> Security:
    def first(key: str) -> int | None:
        value = container.number(key)
        return pod.number(key) if value is None else value

    non_root = container.switch("runAsNonRoot")
    capabilities = container.below("capabilities")
    profile = container.below("seccompProfile").text("type") or pod.below("seccompProfile").text("type")
    return Security(
        user=first("runAsUser"),
        group=first("runAsGroup"),
        non_root=bool(pod.switch("runAsNonRoot") if non_root is None else non_root),
        privileged=bool(container.switch("privileged")),
        escalation=container.switch("allowPrivilegeEscalation"),
        added=_capabilities(capabilities.words("add")),
        dropped=_capabilities(capabilities.words("drop")),
        read_only_root=bool(container.switch("readOnlyRootFilesystem")),
        seccomp=profile,
    )


def _capabilities(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.upper().removeprefix("CAP_") for name in names)


def _port(source: _Fields, named: Mapping[str, int]) -> int:
    value = source.values.get("port")
    if isinstance(value, str) and not value.isdigit():
        if value not in named:
            raise InvalidInput(
                f"{source.where}.port names the port {printable(value)}, which the container does not declare",
                hint="is it spelt right?",
            )
        return named[value]
    try:
        return int(str(value))
    except ValueError as error:
        raise _wrong(f"{source.where}.port", "a port's number or name") from error


def _below(source: _Fields, key: str) -> str:
    """Return a path below a volume; InvalidInput where it climbs out, as the API server refuses it."""
    text = source.text(key)
    if text.startswith("/") or ".." in PurePosixPath(text).parts:
        raise _wrong(f"{source.where}.{key}", "a relative path without '..'")
    return text


def _file(source: _Fields) -> str:
    """Return the path of a file in a volume; InvalidInput where the API server would refuse it."""
    text = _below(source, "path")
    if not text or text.startswith("..") or posixpath.normpath(text) != text or "\0" in text or text == ".":
        raise _wrong(f"{source.where}.path", "the path of a file in the volume")
    return text


def _mode(item: _Fields, default: int) -> int:
    mode = item.number("mode")
    return default if mode is None else mode


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _divided(value: str, divisor: str) -> int:
    """Return a quantity in units of another, rounded up: the downward API's rule."""
    # in thousandths, so that 250m of a core is not a whole one before it is divided
    amount, unit = (_thousandths(text) for text in (value, divisor))
    return -(-amount // unit) if unit else amount


def _thousandths(text: str) -> int:
    text = text.strip()
    return parse_quantity(text[:-1]) if text.endswith("m") else parse_quantity(text) * 1000


def _flattened(value: object) -> Iterator[dict[str, Any]]:
    """Yield an object, or those that a list or an OpenShift template holds."""
    if isinstance(value, list):
        for item in value:
            yield from _flattened(item)
    elif isinstance(value, dict):
        held = value.get("items") if str(value.get("kind", "")).endswith("List") else None
        held = value.get("objects") if value.get("kind") == "Template" else held
        if isinstance(held, list):
            yield from _flattened(held)
        else:
            yield value


def _data_of(path: str, item: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what a config map or secret holds, by key."""
    name = _mapping(item.get("metadata")).get("name")
    found: dict[str, bytes] = {}
    for key in (*_mapping(item.get("data")), *_mapping(item.get("binaryData")), *_mapping(item.get("stringData"))):
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            raise InvalidInput(
                f"{printable(path)}: {item['kind']}/{name}: {printable(key)} is no key that Kubernetes takes",
                hint="use letters, digits, '-', '_' and '.'",
            )
    plain, coded = ("data", "binaryData") if item["kind"] == "ConfigMap" else ("stringData", "data")
    for key, value in _mapping(item.get(coded)).items():
        try:
            found[key] = base64.b64decode(str(value or ""), validate=False)
        except binascii.Error as error:
            raise InvalidInput(
                f"{printable(path)}: {item['kind']}/{name}: {printable(key)} is not base64: {error}",
                hint="write plain text under stringData" if coded == "data" else "encode it with base64",
            ) from error
    for key, value in _mapping(item.get(plain)).items():
        found[key] = str("" if value is None else value).encode("utf-8", "surrogateescape")
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(value: Any, route: Sequence[Key]) -> Any:
    for key in route:
        value = value[key]
    return value


def _wrong(where: str, wanted: str) -> InvalidInput:
    return InvalidInput(f"{printable(where)} is not {wanted}", hint="see kubectl explain")
