"""The flag stands in the pod's security context, where it has no effect.

`readOnlyRootFilesystem` exists for containers only. The API server drops it from the pod's securityContext, or refuses
the object where validation is strict; no container becomes read-only by it.

Remediation: move it to each container.

Before::

    spec:
      securityContext: {readOnlyRootFilesystem: true}
      containers: [{name: app, image: app}]

After::

    spec:
      containers: [{name: app, image: app, securityContext: {readOnlyRootFilesystem: true}}]

References: Kubernetes API, PodSecurityContext; stackrox/kube-linter#99.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("pod-level-flag", Severity.MEDIUM, "The flag stands where it has no effect")
