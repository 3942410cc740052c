"""A key stands in a mapping more than once.

The last one counts and the others are lost without a word, whole lists of containers among them. Whoever reads the file
sees one thing, the cluster another.

Remediation: join them, or delete the ones that do not count.

Before::

    containers: [{name: app, image: app}]
    containers: [{name: proxy, image: proxy}]

After::

    containers: [{name: app, image: app}, {name: proxy, image: proxy}]

References: YAML 1.2, 3.2.1.1; `kubectl apply --validate=strict`.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("duplicate-key", Severity.MEDIUM, "A key stands twice")
