"""Makes a corpus of manifests from a seed: what repositories hold, in the sizes they hold it."""

import os
import random

_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")
_NAMES = ("web", "api", "worker", "cache", "proxy", "queue", "search", "mailer", "billing", "auth", "ingest", "metrics")
_IMAGES = ("nginx", "redis", "postgres", "envoyproxy/envoy", "grafana/grafana", "registry.example/team/app", "busybox")
_LICENCE = (
    '# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in\n'
    "# compliance with the License. You may obtain a copy at http://www.apache.org/licenses/LICENSE-2.0\n#\n"
)


class _Writer:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.lines: list[str] = []

    def add(self, indent: int, *lines: str) -> None:
        self.lines += [" " * indent + line for line in lines]

    def metadata(self, indent: int, name: str) -> None:
        self.add(indent, "metadata:", f"  name: {name}", "  labels:", f"    app.kubernetes.io/name: {name}")
        self.add(indent, "    app.kubernetes.io/part-of: shop", f"    team: {self.dice.choice(_NAMES)}")
        if self.dice.random() < 0.4:
            self.add(indent, "  annotations:", f'    prometheus.io/port: "{self.dice.randint(1024, 9999)}"')
            self.add(indent, '    prometheus.io/scrape: "true"')

    def container(self, indent: int, name: str) -> None:
        dice = self.dice
        self.add(
            indent, f"- name: {name}", f"  image: {dice.choice(_IMAGES)}:{dice.randint(1, 30)}.{dice.randint(0, 9)}"
        )
        if dice.random() < 0.3:
            self.add(indent, "  args:", f'  - "--listen=:{dice.randint(1024, 9999)}"', "  - --log-level=info")
        self.add(indent, "  env:")
        for number in range(dice.randint(0, 9) + 1):
            self.add(indent, f"  - name: SETTING_{number}", f'    value: "{dice.getrandbits(64):x}"')
        if dice.random() < 0.4:
            self.add(indent, "  - name: PASSWORD", "    valueFrom:", "      secretKeyRef:", "        name: secrets")
            self.add(indent, "        key: password")
        self.add(indent, "  ports:", f"  - containerPort: {dice.randint(1024, 9999)}", "    name: http")
        if dice.random() < 0.6:
            for probe in ("livenessProbe", "readinessProbe"):
                self.add(indent, f"  {probe}:", "    httpGet:", "      path: /healthz", "      port: http")
                self.add(indent, "    initialDelaySeconds: 5", "    periodSeconds: 10")
        if dice.random() < 0.7:
            self.add(indent, "  resources:", "    requests:", "      cpu: 100m", "      memory: 128Mi")
            self.add(indent, "    limits:", f"      memory: {dice.choice((128, 256, 512))}Mi")
        self.security(indent)
        self.add(indent, "  volumeMounts:", "  - name: config", "    mountPath: /etc/app", "    readOnly: true")
        if dice.random() < 0.5:
            self.add(indent, "  - name: tmp", "    mountPath: /tmp")

    def security(self, indent: int) -> None:
        chance = self.dice.random()
        if chance < 0.45:
            return
        self.add(indent, "  securityContext:")
        if chance < 0.76:
            self.add(indent, "    readOnlyRootFilesystem: true")
        if chance < 0.9:
            self.add(indent, "    allowPrivilegeEscalation: false", "    capabilities:", "      drop:", "      - ALL")
        self.add(indent, f"    runAsUser: {self.dice.choice((0, 1000, 65534))}")

    def pod(self, indent: int) -> None:
        dice = self.dice
        self.add(indent, "serviceAccountName: default", "terminationGracePeriodSeconds: 30")
        if dice.random() < 0.2:
            self.add(indent, "initContainers:")
            self.container(indent, "setup")
        self.add(indent, "containers:")
        for number in range(dice.choice((1, 1, 1, 2, 2, 3))):
            self.container(indent, f"{dice.choice(_NAMES)}-{number}")
        self.add(indent, "volumes:", "- name: config", "  configMap:", "    name: config", "    defaultMode: 0644")
        self.add(indent, "- name: tmp", "  emptyDir: {}")

    def workload(self) -> None:
        kind, name = self.dice.choice(_KINDS), f"{self.dice.choice(_NAMES)}-{self.dice.randint(1, 999)}"
        version = "v1" if kind == "Pod" else "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
        self.add(0, f"apiVersion: {version}", f"kind: {kind}")
        self.metadata(0, name)
        self.add(0, "spec:")
        if kind == "Pod":
            self.pod(2)
            return
        indent = 2
        if kind == "CronJob":
            self.add(2, 'schedule: "*/5 * * * *"', "jobTemplate:", "  spec:")
            indent = 6
        elif kind != "Job":
            self.add(2, "replicas: 3" if kind != "DaemonSet" else "minReadySeconds: 5", "selector:")
            self.add(2, "  matchLabels:", f"    app.kubernetes.io/name: {name}")
        self.add(indent, "template:")
        self.metadata(indent + 2, name)
        self.add(indent + 2, "spec:")
        self.pod(indent + 4)

    def other(self) -> None:
        name = self.dice.choice(_NAMES)
        if self.dice.random() < 0.5:
            self.add(0, "apiVersion: v1", "kind: Service")
            self.metadata(0, name)
            self.add(0, "spec:", "  ports:", "  - port: 80", "    targetPort: http", "  selector:", f"    app: {name}")
            return
        self.add(0, "apiVersion: v1", "kind: ConfigMap")
        self.metadata(0, name)
        self.add(0, "data:", "  app.conf: |")
        for number in range(self.dice.randint(5, 60)):
            self.add(4, f"setting.{number} = {self.dice.getrandbits(48):x}  # as measured")

    def text(self) -> str:
        if self.dice.random() < 0.3:
            self.lines.append(_LICENCE)
        documents = self.dice.choices((1, 2, 3), (75, 18, 7))[0]
        for number in range(documents):
            if number:
                self.lines.append("---")
            if self.dice.random() < (0.8 if number == 0 else 0.35):
                self.workload()
            else:
                self.other()
        return "\n".join(self.lines) + "\n"


def write_corpus(folder: str, count: int, seed: int) -> int:
    """Write `count` manifests below `folder`, the same for the same seed, and return their bytes together."""
    total = 0
    for number in range(count):
        text = _Writer(random.Random(f"{seed}/{number}")).text()
        path = os.path.join(folder, f"team-{number % 40:02}", f"{number:05}.yaml")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            total += file.write(text)
    return total
