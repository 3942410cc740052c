"""The flag is written as `yes`, `on` or `y`.

kubectl and the API server read YAML 1.1, where these are true. Tools that read YAML 1.2 see a string, and may pass it
on in quotes.

Remediation: write `true` or `false`.

Before::

    securityContext: {readOnlyRootFilesystem: yes}

After::

    securityContext: {readOnlyRootFilesystem: true}

References: YAML 1.1 and 1.2; sigs.k8s.io/yaml.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("ambiguous-flag", Severity.LOW, "The flag means different things to different tools")
