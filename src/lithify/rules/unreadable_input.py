"""An input can't be read.

The document is not YAML or JSON, contains itself, or is nested beyond all measure. Nothing in it was judged: what it
deploys, if another tool reads it, is unknown. kubectl stops at it, and does not apply what stands behind it.

A file of a folder that says no `apiVersion`, `kind` or `services` is skipped and no finding: an editor's settings in
JSON with comments are none of ours.

Remediation: mend it at the place that is named; the other documents of the file were judged.

Before::

    metadata:
        name: app

After::

    metadata:
      name: app

References: YAML 1.2.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("unreadable-input", Severity.HIGH, "The input can not be read")
