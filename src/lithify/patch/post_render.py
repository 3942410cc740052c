"""The program that Helm pipes its output through: Kustomize, and what Kustomize can't say.

A strategic merge patch adds a container that the chart does not render with other values, and has no image for it; and
the init container that fills a place runs the image that its container had when it was hardened. Both are put right in
the text that Kustomize writes, whose form is always the same: two columns, lists below their key, no comments.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lithify.patch.difference import BUILT_IN
from lithify.patch.pods import containers_of, seeds_of


def render_post_render(pods: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> bytes:
    """Return the program for pods that are patched: the kind of the object, and the pod before and after."""
    ours: dict[str, None] = {}
    seeds: dict[str, None] = {}
    for kind, before, after in pods:
        seeds |= dict.fromkeys(f"{kind}/{seed}={owner}" for seed, (_, owner) in seeds_of(before, after).items())
        if kind in BUILT_IN:  # others may have containers without an image
            ours |= dict.fromkeys(f"{kind}/{one['name']}" for _, one in containers_of(before))
    text = _PROGRAM.replace("OURS", " ".join(ours)).replace("SEEDS", " ".join(seeds))
    return text.encode()


_PROGRAM = r"""#!/bin/sh
# Changes what Helm rendered as kustomization.yaml says. Helm 3: --post-renderer THIS-FILE; Helm 4: install its folder
# as a plugin (helm plugin install FOLDER) and name that: --post-renderer lithify-NAME
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/*.yaml "$work"
cat >"$work/rendered.yaml"
if command -v kustomize >/dev/null; then
  kustomize build "$work" >"$work/built"
else
  kubectl kustomize "$work" >"$work/built"
fi || {
  echo "lithify: with these values the chart renders other containers than were hardened: harden it with them" >&2
  exit 1
}
# A container that only the patch names is left out, with what fills its places: these values don't render it. What
# fills places runs the image that its container has.
awk -v ours="OURS" -v seeds="SEEDS" '
  function finish() {
    if (item == "") return
    at = document SUBSEP name
    if (pass == 1) {
      if ((kind "/" name) in known && image == "") gone[at] = 1
      images[at] = image
    } else {
      filled = document SUBSEP owner[kind "/" name]
      if (images[filled] != "") {
        start = index(item, held "\n")
        item = substr(item, 1, start + before - 1) "image: " images[filled] substr(item, start + length(held))
      }
      if (!(at in gone) && !(filled in gone)) printf "%s", item
    }
    item = name = image = ""
  }
  function say(line) { if (list >= 0) item = item line "\n"; else if (pass == 2) print line }
  function leave() { finish(); list = -1 }
  BEGIN {
    count = split(ours, words, " "); for (i = 1; i <= count; i++) known[words[i]] = 1
    count = split(seeds, words, " ")
    for (i = 1; i <= count; i++) { split(words[i], pair, "="); owner[pair[1]] = pair[2] }
    list = scalar = -1
  }
  FNR == 1 { leave(); pass++; document = 0; scalar = -1 }
  {
    match($0, /^ */); depth = RLENGTH
    if (scalar >= 0 && ($0 == "" || depth > scalar)) { say($0); next }
    match($0, /^ *(- )*/); column = RLENGTH; scalar = -1
    if ($0 ~ /[:-] [|>][-+0-9]*$/) scalar = $0 ~ /^ *(- )+[|>]/ ? column - 2 : column
    if ($0 ~ /^---/) { leave(); document++; kind = "" }
    if (depth == 0 && $1 == "kind:") kind = $2
    if (list >= 0 && depth <= list && !(depth == list && $0 ~ /^ *- /)) leave()
    if (list >= 0 && depth == list) finish()
    if (list >= 0 && column == list + 2) {
      key = substr($0, column + 1)
      if (key ~ /^name: /) name = substr(key, 7)
      if (key ~ /^image: /) { image = substr(key, 8); held = $0; before = column }
    }
    say($0)
    if ($0 ~ /^ *(- )*(containers|initContainers):$/) { leave(); list = column }
  }
  END { leave() }
' "$work/built" "$work/built"
"""
