"""Traps that people have fallen into with read-only roots, by the number of their class, and what a patch does."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.patch.plans import SCRATCH, VOLUME, place, planned
from tests.unit.patch.programs import on_path

from lithify.engines.helm import Chart
from lithify.model.image import EntryType, ImageFacts
from lithify.model.mount import Mount, PathClass, Seed, StorageKind
from lithify.model.patch import Patched
from lithify.patch import compose, helm, kubernetes
from lithify.patch.kubernetes import Options
from lithify.patch.pods import pods_of, read_objects

POD = "kind: Pod\nspec:\n  containers:\n  - name: web\n    image: x\n"


def pod(*mounts: Mount, options: Options | None = None, text: str = POD, image: ImageFacts | None = None) -> Patched:
    one = planned(*mounts, route=("spec", "containers", 0), image=image)
    return kubernetes.patch(text.encode(), [one], options)


def spec(patched: Patched) -> dict[str, Any]:
    """Return the pod that came out; nothing was refused."""
    assert not patched.refused, patched.refused
    found = next(yaml.safe_load_all(patched.text))["spec"]
    assert isinstance(found, dict)
    return found


def service(*mounts: Mount, text: str = "services: {web: {image: x}}\n") -> Patched:
    return compose.patch(text.encode(), [planned(*mounts, route=("services", "web"))])


def web(patched: Patched) -> dict[str, Any]:
    assert not patched.refused, patched.refused
    found = yaml.safe_load(patched.text)["services"]["web"]
    assert isinstance(found, dict)
    return found


def test_p01_what_a_mount_hides_is_put_back() -> None:
    found = spec(pod(place("/etc/app", SCRATCH, seed=Seed.CONTENT)))
    assert "cp -a /etc/app/. new" in found["initContainers"][0]["command"][-1]
    assert found["containers"][0]["volumeMounts"] == [
        {"name": "etc-app", "mountPath": "/etc/app", "subPath": "content"}
    ]
    # Docker fills volumes from the image, and no tmpfs
    assert web(service(place("/etc/app", seed=Seed.CONTENT)))["volumes"] == ["/etc/app"]


def test_p05_a_single_file_is_there_before_it_is_mounted() -> None:
    found = spec(pod(place("/etc/app.conf", SCRATCH, type=EntryType.FILE, seed=Seed.CONTENT, mode=0o640)))
    text = found["initContainers"][0]["command"][-1]
    assert "cp -p /etc/app.conf new" in text
    assert "mv new content" in text
    assert found["containers"][0]["volumeMounts"][0]["subPath"] == "content"
    assert "docker compose cp" in service(place("/etc/app.conf", SCRATCH, type=EntryType.FILE)).refused[0].remedy


def test_p06_a_mount_has_the_owner_and_mode_of_who_writes() -> None:
    found = spec(pod(place("/data", VOLUME, uid=33, gid=33), image=ImageFacts(reference="x", uid=33, has_shell=True)))
    assert found["securityContext"] == {"fsGroup": 33, "fsGroupChangePolicy": "OnRootMismatch"}
    (entry,) = web(service(place("/run", uid=33, gid=33, mode=0o700)))["tmpfs"]
    assert entry.endswith("uid=33,gid=33,mode=0700")


def test_p07_nothing_is_executable_but_what_has_to_be() -> None:
    options = Options(version=(1, 37), gates=frozenset({"VolumeBindMountOptions"}))
    mounts = spec(pod(place("/tmp"), place("/jit", executable=True), options=options))["containers"][0]["volumeMounts"]
    assert ["noexec" in mount["bindMountOptions"] for mount in mounts] == [True, False]
    entries = web(service(place("/jit", executable=True), place("/tmp")))["tmpfs"]
    assert [entry.split(":")[1].split(",")[0] for entry in entries] == ["exec", "noexec"]


def test_p08_modes_that_programs_insist_on() -> None:
    ruby = ImageFacts(reference="x", environment={"GEM_HOME": "/gems"}, has_shell=True)
    made = spec(pod(place("/tmp", mode=0o1777), image=ruby))["initContainers"][0]["command"]
    assert made == ["mkdir", "-p", "-m", "1777", "/lithify/tmp/content"]
    closed = ImageFacts(reference="x", uid=70, has_shell=True)
    made = spec(pod(place("/run/pg", mode=0o700, uid=70, gid=70), image=closed))["initContainers"][0]["command"]
    assert made == ["mkdir", "-p", "-m", "700", "/lithify/run-pg/content"]


def test_p20_a_chart_that_knows_the_flag_and_not_the_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, "helm", "kustomize")
    shutil.copytree(Path(__file__).parents[2] / "cases" / "charts" / "ranged", tmp_path / "ranged")
    template = tmp_path / "ranged" / "templates" / "all.yaml"
    sayable = r" *\{\{- with \$c\.(volumes|volumeMounts) \}\}\n.*?\{\{- end \}\}\n"
    text = re.sub(sayable, "", template.read_text(), flags=re.DOTALL)
    template.write_text(text)
    chart = Chart(str(tmp_path / "ranged"))
    before = chart.render()
    objects = read_objects(before)
    for item in objects:
        for _, found in pods_of(item):
            found["volumes"] = [{"name": "tmp", "emptyDir": {}}]
            found["containers"][0]["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
            context = found["containers"][0].get("securityContext") or {}
            found["containers"][0]["securityContext"] = {**context, "readOnlyRootFilesystem": True}
    patched = helm.patch(chart, before, Patched(text="\n---\n".join(map(json.dumps, objects)).encode()))
    assert not patched.refused
    by_name = {Path(file.path).name: file.after.decode() for file in patched.files}
    assert by_name["values.yaml"].count("readOnlyRootFilesystem: true") == 3
    assert by_name["kustomization.yaml"].count("mountPath: /tmp") == 3


def test_p22_what_an_engine_would_copy_into_the_container() -> None:
    text = "services: {web: {image: x, configs: [c]}}\nconfigs: {c: {content: hi}}\n"
    (refused,) = service(place("/tmp"), text=text).refused
    assert refused.remedy == "Put it in a file and say `file: ./c` in its place"


def test_p23_no_mount_point_can_be_made_in_a_read_only_mount() -> None:
    mounted = POD + "    volumeMounts:\n    - {name: s, mountPath: /run, readOnly: true}\n"
    (refused,) = pod(place("/run/app"), text=mounted).refused
    assert "/run/app lies in the read-only mount /run" in refused.reason


def test_p28_who_may_not_give_files_away_does_not_try() -> None:
    wanted = place("/srv", SCRATCH, seed=Seed.CONTENT, uid=33, gid=33)
    known = ImageFacts(reference="x", uid=33, has_shell=True)
    assert "chown" not in spec(pod(wanted, image=known))["initContainers"][0]["command"][-1]
    text = spec(pod(wanted))["initContainers"][0]["command"][-1]
    assert "chown 33:33 new 2>/dev/null || :\n" in text  # nobody knows who it runs as


def test_what_kubernetes_can_not_make_noexec_is_told() -> None:
    """A plan says noexec; a server without mount options lets programs run there all the same."""
    wanted = (place("/run"), place("/opt", executable=True))
    (told,) = (note for note in pod(*wanted).notes if "programs can be run" in note)
    assert told.startswith("web: programs can be run from /run: ")
    able = Options(version=(1, 37), gates=frozenset({"VolumeBindMountOptions"}))
    assert not any("programs can be run" in note for note in pod(*wanted, options=able).notes)


def test_p40_what_the_last_run_left_is_told_or_taken_away() -> None:
    wanted = place("/run", classes=(PathClass.RUNTIME,))
    told = pod(wanted)
    assert "web: what it leaves in /run is still there when the container restarts in its pod" in told.notes
    started = POD + "    command: [daemon]\n"
    fresh = spec(pod(wanted, text=started, options=Options(fresh_start=frozenset({"web"}))))["containers"][0]["command"]
    assert fresh[:2] == ["sh", "-c"]
    assert fresh[2].endswith('\nfresh /run\nexec "$@"\n')
    assert fresh[-1] == "daemon"


@pytest.mark.parametrize("more", [{"storage": StorageKind.VOLUME}, {"classes": (PathClass.RUNTIME, PathClass.STATE)}])
def test_p40_a_store_is_never_emptied_because_a_lock_lies_in_it(more: dict[str, Any]) -> None:
    wanted = replace(place("/var/lib/store", classes=(PathClass.RUNTIME,)), **more)
    patched = pod(wanted, text=POD + "    command: [daemon]\n", options=Options(fresh_start=frozenset({"web"})))
    assert spec(patched)["containers"][0]["command"] == ["daemon"]
    assert b"fresh" not in patched.text
