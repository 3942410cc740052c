"""Scratch namespaces of a cluster: made for one run, labelled as ours, gone with everything in them.

Who made one is in its labels (engines.ownership); one whose maker is gone is swept at the next start. A maker on
another machine can't be judged from here: its namespaces are left until the time that they bear has passed.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from typing import Any

from lithify.engines.host import HERE, Host
from lithify.engines.kubernetes.client import NAMESPACE, POD, Cluster, Resource
from lithify.engines.kubernetes.copies import Needs, empty_claim, strip
from lithify.engines.kubernetes.lent import is_lent, is_scratch, lend_directory, take_back
from lithify.engines.kubernetes.quotas import quota_for
from lithify.engines.kubernetes.roles import API, BINDINGS, ROLES, binding_for, role_for
from lithify.engines.ownership import BOOT, RUN, boot_id, is_abandoned, labels, new_run
from lithify.errors import Conflict, EngineRefused, EngineUnreachable, LithifyError, NothingToExamine, NotPermitted
from lithify.model.path import printable

Json = dict[str, Any]

UNTIL = "dev.lithify.until"
"""The second since 1970 after which nobody needs the namespace any more, whatever became of its maker."""
KEPT = "dev.lithify.kept"
SOURCE = "dev.lithify.of"
OF = "dev.lithify.namespace"
"""On a volume: the scratch namespace that it was lent to."""
LIFETIME = 6 * 3600.0
"""Seconds for which what is made for a proof may be needed."""
_GONE = 90.0
_ACCOUNT = 30.0
CONFIG_MAP = Resource(api_version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
SECRET = Resource(api_version="v1", kind="Secret", plural="secrets", namespaced=True)
CLAIM = Resource(api_version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims", namespaced=True)
ACCOUNT = Resource(api_version="v1", kind="ServiceAccount", plural="serviceaccounts", namespaced=True)
LIMITS = Resource(api_version="v1", kind="LimitRange", plural="limitranges", namespaced=True)
QUOTA = Resource(api_version="v1", kind="ResourceQuota", plural="resourcequotas", namespaced=True)
ROLE = Resource(api_version=API, kind="Role", plural="roles", namespaced=True)
BINDING = Resource(api_version=API, kind="RoleBinding", plural="rolebindings", namespaced=True)
CLUSTER_BINDING = Resource(api_version=API, kind="ClusterRoleBinding", plural="clusterrolebindings", namespaced=False)
EVENT = Resource(api_version="v1", kind="Event", plural="events", namespaced=True)
NODE = Resource(api_version="v1", kind="Node", plural="nodes", namespaced=False)
CLASS = Resource(api_version="storage.k8s.io/v1", kind="StorageClass", plural="storageclasses", namespaced=False)
VOLUME = Resource(api_version="v1", kind="PersistentVolume", plural="persistentvolumes", namespaced=False)
_HOST_NAME = "kubernetes.io/hostname"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"


class Premises:
    """A cluster as a place to try workloads in: gives scratch namespaces, and sees that they go.

    `source` is the namespace whose labels, limits, quotas, config maps, secrets, claims, accounts and roles the scratch
    ones get.
    """

    def __init__(self, connect: Callable[[], Cluster], source: str = "") -> None:
        self._connect = connect
        self._local = threading.local()
        self._clusters: list[Cluster] = []
        self._names: set[str] = set()
        self._privileged: set[str] = set()
        """Those of them that hold pods of our own: they go last."""
        self._lent: set[str] = set()
        """Those to which storage was lent, or may have been by who left them behind."""
        self._marks: dict[str, Mapping[str, str]] = {}
        """The labels of what was made for each namespace."""
        self._lock = threading.Lock()
        self._bindings: tuple[Sequence[Json], Sequence[str]] | None = None
        self._node: str | None = None
        self._labels: Mapping[str, str] = {}
        self.host: Host = HERE
        """Asks the node that everything runs on: this host, unless `settle` has named another."""
        self._leave: Callable[[], None] = lambda: None
        self.source = source or self.cluster.namespace

    def __enter__(self) -> "Premises":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cluster(self) -> Cluster:
        """This thread's connection."""
        found: Cluster | None = getattr(self._local, "cluster", None)
        if found is None:
            found = self._local.cluster = self._connect()
            with self._lock:
                self._clusters.append(found)
        return found

    def close(self) -> None:
        """Have every namespace gone that is not to be kept, also one that nobody gave back, and close connections."""
        with ExitStack() as last:
            last.callback(self._disconnect)
            last.callback(self._await_gone, self._privileged)
            last.callback(self._leave)
            self._await_gone(self._names - self._privileged)
            self._take_back(self._lent)

    def _disconnect(self) -> None:
        for cluster in self._clusters:
            cluster.server.close()
        self._clusters.clear()

    def node(self) -> str:
        """Return the node that everything runs on: this host, unless `settle` has named another.

        EngineUnreachable where this is no node of the cluster. Nodes tell the boot id of their kernel, which no two
        kernels share.
        """
        if self._node is None:
            boot = boot_id()
            for node in self.cluster.objects(NODE):
                if ((node.get("status") or {}).get("nodeInfo") or {}).get("bootID") == boot:
                    self._node = str(node["metadata"]["name"])
                    self._labels = node["metadata"].get("labels") or {}
                    break
            else:
                raise EngineUnreachable(
                    f"this host is no node of the cluster {printable(self.cluster.name)}, so that what its containers "
                    "write can't be seen from here",
                    hint="name an image that holds lithify with --node-image, or run it on a node, as root: "
                    "docs/how-to/cluster.md",
                )
        return self._node

    def settle(self, node: str, host: Host, leave: Callable[[], None]) -> None:
        """Have everything run on another node, which `host` asks until `leave` is called, at the end."""
        self._node, self.host, self._leave = node, host, leave
        for found in self.cluster.objects(NODE):
            if found["metadata"]["name"] == node:
                self._labels = found["metadata"].get("labels") or {}

    def check_rights(self, kinds: Iterable[Resource]) -> None:
        """Raise NotPermitted, before anything is made, where a right is missing that a run will need."""
        wanted: list[tuple[str, Resource, str, str]] = [
            ("create", NAMESPACE, "", ""),
            ("delete", NAMESPACE, "", ""),
            ("list", NODE, "", ""),
            *(("create", kind, "lithify-scratch", "") for kind in kinds),
            ("get", NAMESPACE, "", ""),
            ("get", ACCOUNT, "lithify-scratch", ""),
            ("list", POD, "lithify-scratch", ""),
            ("create", POD, "lithify-scratch", ""),
            ("delete", POD, "lithify-scratch", ""),
            ("get", POD, "lithify-scratch", "log"),
        ]
        missing = [
            f"{verb} {resource}{'/' + sub if sub else ''}"
            for verb, resource, namespace, sub in wanted
            if not self.cluster.allows(verb, resource, namespace or None, subresource=sub)
        ]
        if missing:
            raise NotPermitted(
                f"the context {printable(self.cluster.name)} may not do what a proof in a scratch namespace needs",
                hint=f"missing: the right to {', '.join(missing)}, in every namespace",
            )

    def make(self, purpose: str) -> str:
        """Make a scratch namespace like the source and return its name."""
        found = self.cluster.get(NAMESPACE, self.source) or {}
        inherited = {
            key: value
            for key, value in ((found.get("metadata") or {}).get("labels") or {}).items()
            if key not in ("kubernetes.io/metadata.name", "name") and "argocd" not in key and "helm" not in key
        }
        name = self._make(purpose, inherited, LIFETIME)
        self._copy_limits(name)
        return name

    def make_privileged(self, purpose: str, lifetime: float) -> str:
        """Make a namespace for privileged pods of our own, needed for `lifetime` seconds; return its name."""
        standards = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
        name = self._make(purpose, standards, lifetime)
        self._privileged.add(name)
        return name

    def marks(self, name: str) -> Mapping[str, str]:
        """Return the labels that say whose a namespace of ours is, for what is made in it."""
        return self._marks[name]

    def _make(self, purpose: str, inherited: Mapping[str, str], lifetime: float) -> str:
        cluster = self.cluster
        for _ in range(3):
            run = new_run()
            name = f"lithify-{run}-{purpose}"[:63].rstrip("-")
            own = dict(label.split("=", 1) for label in labels(run))
            marks = {key: value.replace(":", "-") for key, value in own.items()}
            until = str(int(time.time() + lifetime))
            metadata = {
                "name": name,
                "labels": {**inherited, **marks, UNTIL: until},
                "annotations": {SOURCE: self.source},
            }
            with self._lock:
                self._names.add(name)
                self._marks[name] = {**marks, UNTIL: until}
            try:
                cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
                self._await_account(name)
            except Conflict:
                with self._lock:
                    self._names.discard(name)
                continue
            except BaseException:
                # it may have come about although no answer came
                with suppress(LithifyError):
                    self.remove(name)
                raise
            return name
        raise EngineRefused("no name for a scratch namespace is free", hint="try again")

    def remove(self, name: str) -> None:
        """Have a scratch namespace of ours removed with all that runs in it, without waiting for it to be gone."""
        cluster = self.cluster
        with self._lock:
            self._names.add(name)
        with suppress(Conflict):  # it is on its way already
            cluster.delete(NAMESPACE, name)
        # Nothing makes pods in a namespace that is going, and these need not end politely.
        with suppress(NothingToExamine, NotPermitted):
            for pod in cluster.objects(POD, name):
                cluster.delete(POD, str(pod["metadata"]["name"]), name, grace=0)

    def keep(self, name: str) -> None:
        """Leave a namespace for a look."""
        self.cluster.patch(NAMESPACE, name, {"metadata": {"labels": {KEPT: "true"}}})
        with self._lock:
            self._names.discard(name)

    def sweep(self) -> Sequence[str]:
        """Remove what earlier lithify processes left behind; return what it was."""
        gone = []
        for found in list(self.cluster.objects(NAMESPACE, label_selector=f"{RUN},!{KEPT}")):
            metadata = found["metadata"]
            marks: Mapping[str, str] = metadata.get("labels") or {}
            if metadata.get("deletionTimestamp") or not self._is_left(marks):
                continue
            name = str(metadata["name"])
            self.remove(name)
            gone.append(f"namespace {printable(name)}")
            if is_scratch(name):
                self._lent.add(name)
        left = set()
        with suppress(NotPermitted):
            for found in list(self.cluster.objects(VOLUME, label_selector=OF)):
                lent_to = str(found["metadata"]["labels"][OF])
                if not is_scratch(lent_to):  # anybody who may make volumes can write anything there
                    continue
                kept = lent_to in self._names or self.cluster.get(NAMESPACE, lent_to) is not None
                if not kept and self._is_left(found["metadata"]["labels"]):
                    left.add(lent_to)
        self._take_back(left)
        return gone

    def _is_left(self, marks: Mapping[str, str]) -> bool:
        until = str(marks.get(UNTIL, ""))
        if until.isdigit() and int(until) < time.time():
            return True
        if marks.get(BOOT) != boot_id():
            return False  # of another machine, or of this one before it was started again
        own = {key: value.replace("-", ":", 1) if key.endswith("owner") else value for key, value in marks.items()}
        return is_abandoned(own, local=True)

    def bring(self, namespace: str, needs: Needs, given: Sequence[Json]) -> tuple[set[str], list[str]]:
        """Put what pods refer to into a scratch namespace: what the user gave, else copies of what the source has.

        Returns the claims for which no storage can be had, and notes. NothingToExamine where something is nowhere.
        """
        notes: list[str] = []
        by_name = {(str(one.get("kind")), str((one.get("metadata") or {}).get("name"))): one for one in given}
        lists = (
            (CONFIG_MAP, needs.config_maps),
            (SECRET, needs.secrets),
            (ACCOUNT, dict.fromkeys(needs.accounts, False)),
        )
        for resource, wanted in lists:
            for name, optional in wanted.items():
                found = by_name.get((resource.kind, name)) or self.cluster.get(resource, name, self.source)
                if found is None and not optional:
                    raise NothingToExamine(
                        f"the workload refers to {resource.kind} {printable(name)}, which is neither in the file nor "
                        f"in namespace {printable(self.source)}",
                        hint="name a file that has it with --with, or the namespace that has it with -n",
                    )
                if found is not None:
                    self._put(namespace, _portable(found), resource)
        lacking = set()
        for name in sorted(needs.claims):
            claim = by_name.get((CLAIM.kind, name)) or self.cluster.get(CLAIM, name, self.source)
            made = empty_claim({**(claim or _small_claim(name)), "apiVersion": "v1", "kind": CLAIM.kind})
            if not self.provides(made) and not self.lend(namespace, made, notes):
                lacking.add(name)
                continue
            self._put(namespace, made, CLAIM)
            if claim is not None:
                notes.append(f"claim {printable(name)} was tried with empty storage")
        return lacking, notes

    def bind(
        self, namespace: str, accounts: frozenset[str], objects: Sequence[Mapping[str, Any]], notes: list[str]
    ) -> None:
        """Let the accounts of a scratch namespace do there what `objects` and the source let those of the source do."""
        held = {
            (str(one.get("kind")), str(one["metadata"]["name"])): one for one in objects if one.get("kind") in ROLES
        }
        bindings = [(one, "") for one in objects if one.get("kind") in BINDINGS]
        bindings += [(one, self.source) for one in self._live_bindings(notes)]
        for found, home in bindings:
            binding = binding_for(found, accounts, home, namespace)
            if binding is None:
                continue
            reference = binding["roleRef"]
            key = str(reference.get("kind")), str(reference.get("name"))
            role = held.get(key)
            if role is None and key[0] == ROLE.kind:
                role = self.cluster.get(ROLE, key[1], self.source)
            if role is not None:
                made = role_for(role)
                binding["roleRef"] = {**reference, "kind": ROLE.kind, "name": made["metadata"]["name"]}
            try:
                if role is not None:
                    self._put(namespace, made, ROLE)
                self._put(namespace, binding, BINDING)
            except (NotPermitted, EngineRefused) as error:
                name = printable(f"{key[0]} {key[1]}")
                notes.append(f"{name} was not given to the copy's accounts, which we may not do: {error}"[:500])

    def _live_bindings(self, notes: list[str]) -> Sequence[Json]:
        """Return what bound roles to accounts of the source when it was first asked for; note what we may not see."""
        if self._bindings is None:
            found: list[Json] = []
            hidden = []
            for resource, namespace in ((BINDING, self.source), (CLUSTER_BINDING, None)):
                try:
                    found += self.cluster.objects(resource, namespace)
                except NotPermitted as error:
                    hidden.append(f"the copy's accounts have no roles that {resource} give: {error.hint}")
            self._bindings = found, hidden
        notes += self._bindings[1]
        return self._bindings[0]

    def copy_quotas(self, namespace: str, workloads: Sequence[Json], notes: list[str]) -> None:
        """Give a scratch namespace the quotas of the source, less what others than `workloads` use there."""
        try:
            quotas = list(self.cluster.objects(QUOTA, self.source))
            pods = list(self.cluster.objects(POD, self.source)) if quotas else []
        except NotPermitted as error:
            notes.append(f"quotas of namespace {printable(self.source)} were not copied: {error.hint}")
            return
        for quota in quotas:
            made = quota_for(quota, pods, workloads)
            try:
                self._put(namespace, made, QUOTA)
                self._await_quota(made, namespace)
            except NotPermitted as error:  # Kubernetes' own roles `admin` and `edit` may read them only
                name = printable(str(made["metadata"]["name"]))
                notes.append(f"quota {name} of namespace {printable(self.source)} was not copied: {error.hint}")

    def _await_quota(self, made: Json, namespace: str) -> None:
        """Wait until a quota is counted: everything is refused before."""
        deadline = time.monotonic() + _ACCOUNT
        while time.monotonic() < deadline:
            found = self.cluster.get(QUOTA, str(made["metadata"]["name"]), namespace) or {}
            if (found.get("status") or {}).get("hard"):
                return
            time.sleep(0.05)

    def provides(self, claim: Mapping[str, Any]) -> bool:
        """Tell whether the cluster makes storage for a new claim by itself."""
        named = (claim.get("spec") or {}).get("storageClassName")
        if named == "":
            return False
        for found in self.cluster.objects(CLASS):
            metadata = found["metadata"]
            default = (metadata.get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
            if metadata["name"] == named or (named is None and default):
                return bool(found.get("provisioner") != _NO_PROVISIONER)
        return False

    def lend(self, namespace: str, claim: Mapping[str, Any], notes: list[str]) -> bool:
        """Make storage for a claim of a scratch namespace on the node's disk; False where that is not allowed.

        It is a volume that only this claim can be bound to, a directory; it goes with the namespace.
        """
        name, spec = str(claim["metadata"]["name"]), claim.get("spec") or {}
        if spec.get("volumeMode") == "Block":
            return False
        self.node()
        self._lent.add(namespace)
        path = self.host.call(lend_directory, namespace)
        volume: Json = {
            "metadata": {"generateName": f"{namespace}-"[:57], "labels": {**self._marks[namespace], OF: namespace}},
            "spec": {
                "capacity": (spec.get("resources") or {}).get("requests") or {"storage": "1Gi"},
                "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": spec.get("storageClassName") or "",
                "claimRef": {"apiVersion": "v1", "kind": CLAIM.kind, "namespace": namespace, "name": name},
                "local": {"path": path},
                "nodeAffinity": self._affinity(),
            },
        }
        try:
            self.cluster.create({"apiVersion": "v1", "kind": VOLUME.kind, **volume})
        except (NotPermitted, EngineRefused):
            return False
        notes.append(f"claim {printable(name)} was given a directory of the node")
        return True

    def _take_back(self, namespaces: Set[str]) -> None:
        """Remove the storage that was lent to namespaces which are gone, where the node that is asked has it."""
        lent = {name for name in namespaces if self.host.call(is_lent, name)}
        with suppress(NotPermitted):
            for found in list(self.cluster.objects(VOLUME, label_selector=OF)) if namespaces else ():
                lent_to = found["metadata"]["labels"][OF]
                if lent_to in lent or (lent_to in namespaces and self._is_on_node(found)):
                    with suppress(NothingToExamine):
                        self.cluster.delete(VOLUME, str(found["metadata"]["name"]))
        for name in sorted(lent):
            self.host.call(take_back, name)

    def _is_on_node(self, volume: Mapping[str, Any]) -> bool:
        """Tell whether a volume that we made lies on the node that everything runs on, as far as that is known."""
        return self._node is not None and volume["spec"].get("nodeAffinity") == self._affinity()

    def _affinity(self) -> Json:
        """Return what keeps a volume to the node that everything runs on."""
        matched = {"key": _HOST_NAME, "operator": "In", "values": [self._labels.get(_HOST_NAME, self._node)]}
        return {"required": {"nodeSelectorTerms": [{"matchExpressions": [matched]}]}}

    def _put(self, namespace: str, made: Json, resource: Resource) -> None:
        made["apiVersion"], made["kind"] = resource.api_version, resource.kind
        with suppress(Conflict):  # the file has one of that name, or the server made it
            self.cluster.create(made, namespace)

    def _copy_limits(self, name: str) -> None:
        """Give a namespace the limits of the source: pods get other sizes with them, or are refused."""
        with suppress(NotPermitted):
            for limits in list(self.cluster.objects(LIMITS, self.source)):
                self._put(name, strip(limits), LIMITS)

    def _await_account(self, name: str) -> None:
        """Wait for the namespace's default account: pods are refused before it is there."""
        deadline = time.monotonic() + _ACCOUNT
        while self.cluster.get(ACCOUNT, "default", name) is None:
            if time.monotonic() > deadline:
                raise EngineRefused(
                    f"namespace {name} gets no default service account", hint="do the cluster's controllers run?"
                )
            time.sleep(0.05)

    def _await_gone(self, names: Iterable[str]) -> None:
        deadline = time.monotonic() + _GONE
        for name in sorted(names):
            while (found := self.cluster.get(NAMESPACE, name)) is not None:
                if not found["metadata"].get("deletionTimestamp"):
                    self.remove(name)  # an interrupt came between making it and knowing whose it is
                if time.monotonic() > deadline:
                    raise EngineRefused(
                        f"namespace {name} was deleted and does not go",
                        hint=f"see kubectl get namespace {name} -o yaml; the next lithify tries again",
                    )
                time.sleep(0.1)


def _portable(found: Mapping[str, Any]) -> Json:
    """Return a copy of a config map, secret or account, without what belongs to its own namespace only."""
    made = strip(found)
    made.pop("secrets", None)
    if made.get("type") == "kubernetes.io/service-account-token":
        made["type"] = "Opaque"
    return made


def _small_claim(name: str) -> Json:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": CLAIM.kind, "metadata": {"name": name}, "spec": spec}
