"""Manifests of the tests, as plain data, and their text."""

import json
from typing import Any

Json = dict[str, Any]

STAY = "trap 'exit 0' TERM; sleep 1000 & wait"
"""Ends a script: it goes on running until it is asked to end."""


def deployment(name: str, container: Json, **pod: object) -> Json:
    """Return a Deployment of two replicas with one container, and what else its pods have."""
    labels = {"app": name}
    spec = {"containers": [{"imagePullPolicy": "Never", **container}], "terminationGracePeriodSeconds": 1, **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def pod(name: str, container: Json, **more: object) -> Json:
    """Return a Pod by itself."""
    spec = {"containers": [{"imagePullPolicy": "Never", **container}], "terminationGracePeriodSeconds": 1, **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def shell(script: str, image: str, **more: object) -> Json:
    """Return a container that runs `script`."""
    return {"name": "app", "image": image, "command": ["sh", "-ec", script], **more}


def config_map(name: str, **data: str) -> Json:
    """Return a config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def text(*objects: Json) -> str:
    """Return objects as a manifest; JSON is YAML."""
    return "---\n".join(json.dumps(one, indent=2) + "\n" for one in objects)
