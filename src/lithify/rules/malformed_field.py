"""A field has a shape that the API server refuses.

A list of containers that is a mapping, a container that is a scalar, a securityContext that is a list: the object will
not be accepted, and nothing in that place could be judged.

Remediation: give it the shape the API asks for.

Before::

    containers: {name: app, image: app}

After::

    containers: [{name: app, image: app}]

References: Kubernetes API reference.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("malformed-field", Severity.MEDIUM, "A field has the wrong shape")
