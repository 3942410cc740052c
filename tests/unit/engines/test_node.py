"""What a monitor's bundle tells of its container; real ones are looked at in `tests/runtime` and `tests/cluster`."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from lithify.engines.node.containers import NodeContainer, find_container, pids_here, read_node
from lithify.errors import NothingToExamine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="monitors are looked at as root only")

ANNOTATIONS = {
    "io.container.manager": "cri-o",
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.ImageName": "registry.example/shop/nginx:1",
}
"""Of those that CRI-O 1.34 gives every container; a kubelet's labels come besides."""


@pytest.fixture(scope="module")
def fake_conmon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Processes called conmon, each with a bundle that CRI-O might have made; the ids by what they stand for.

    Beside each is one that has a file of the bundle mounted, as a container has its hosts file.
    """
    ids = {"bare": "a1" * 32, "replica": "b2" * 32, "sandbox": "c3" * 32, "gone": "d4" * 32}
    told = {
        "bare": {"io.kubernetes.cri-o.Name": "k8s_nginx_fake-web_fake-shop_u-1_0"},
        "replica": {
            "io.kubernetes.cri-o.Name": "k8s_nginx_fake-web2_fake-shop_u-2_3",
            "io.kubernetes.container.name": "nginx",
            "io.kubernetes.pod.name": "fake-web2",
            "io.kubernetes.pod.namespace": "fake-shop",
        },
        "sandbox": {"io.kubernetes.cri-o.ContainerType": "sandbox"},
        "gone": {"io.kubernetes.cri-o.Name": "k8s_gone_fake-web3_fake-shop_u-3_0"},
    }
    started = []
    try:
        for name, identity in ids.items():
            bundle = tmp_path_factory.mktemp("crio") / identity / "userdata"
            bundle.mkdir(parents=True)
            (bundle / "config.json").write_text(json.dumps({"annotations": {**ANNOTATIONS, **told[name]}}))
            (bundle / "pidfile").write_text(str(os.getpid()))  # as one that somebody else has by now
            if name != "gone":
                hosts = bundle / "hosts"
                hosts.touch()
                inside = f"mount --bind {hosts} {hosts} && echo && read -r _"
                words = ["unshare", "--mount", "sh", "-c", inside]
                process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                started.append(process)
                assert process.stdout
                assert process.stdout.readline() == b"\n"
                (bundle / "pidfile").write_text(str(process.pid))
            words = ["conmon", "-c", "read -r _", "-b", str(bundle)]
            if name == "bare":  # as Podman without root has it: the file lies elsewhere
                elsewhere = bundle.parent / "pid"
                (bundle / "pidfile").rename(elsewhere)
                words += ["-p", str(elsewhere)]
            started.append(subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE))
        yield ids
    finally:
        for process in started:
            process.communicate(b"\n", timeout=30)


def test_cri_o_names_its_containers_whoever_asked_for_them(fake_conmon: dict[str, str]) -> None:
    found = {one.id: one for one in read_node()}
    assert fake_conmon["sandbox"] not in found
    bare, replica = found[fake_conmon["bare"]], found[fake_conmon["replica"]]
    assert (bare.title, bare.runtime, bare.image) == (
        "fake-shop/fake-web/nginx",
        "cri-o",
        "registry.example/shop/nginx:1",
    )
    assert replica.title == "fake-shop/fake-web2/nginx"


@pytest.mark.parametrize(
    "name", ["fake-web", "fake-shop/fake-web", "fake-web/nginx", "fake-shop/fake-web/nginx", "a1a1a1a1a1"]
)
def test_a_container_is_found_by_any_of_its_names(fake_conmon: dict[str, str], name: str) -> None:
    found = find_container(name)
    assert found is not None
    assert found.id == fake_conmon["bare"]


def test_a_name_of_two_containers_is_not_guessed(fake_conmon: dict[str, str]) -> None:
    del fake_conmon
    with pytest.raises(NothingToExamine, match="fake-shop/fake-web2/nginx") as refused:
        find_container("nginx")
    assert "fake-shop/fake-web/nginx" in str(refused.value)
    assert find_container("fake-shop/nginx") is None


@pytest.mark.parametrize("name", ["", "/", "web/", "/web"])
def test_what_a_container_lacks_is_no_name(name: str) -> None:
    """Of one that Docker runs nothing but the id is known; of others without a kubelet the namespace may not be."""
    for one in (NodeContainer(id="d4" * 32, runtime="docker"), NodeContainer(id="d4" * 32, runtime="cri-o", pod="web")):
        assert not one.is_called(name)
        assert one.is_called("d4d4d4d4d4d4")


def test_a_pid_that_somebody_else_has_by_now_is_not_believed(fake_conmon: dict[str, str]) -> None:
    assert fake_conmon["gone"] in {one.id for one in read_node() if one.pid}
    assert find_container("fake-shop/fake-web3/gone") is None


def test_the_first_process_is_the_oldest_and_not_the_one_of_the_lowest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of processes start over: at 32,768 on many hosts."""
    started = {17: 900, 31_000: 800, 44: None}
    monkeypatch.setattr("lithify.engines.node.containers._pids", lambda: sorted(started))
    monkeypatch.setattr("lithify.engines.node.containers._containers_around", lambda _: ["a1" * 32])
    monkeypatch.setattr("lithify.engines.node.containers.start_time", started.get)
    assert pids_here() == {"a1" * 32: 31_000}
