"""Thin layers over the programs that run containers, one Protocol for all: `base`.

Where to look first, by what runs a target:

one container       `bundle` (no daemon), `docker` and `podman` over what both do alike, `cli`
a Compose project   `compose`, as one engine for the service that is hardened, in copies by `compose_project`
a pod               `pod`, without a cluster: on premises of `pod_bundle` or `pod_cli`, its volumes by `pod_files`
a real cluster      `cluster`, in namespaces of `scratch`

and what these stand on:

the bundle engine   `prepare` lays out what `spec`, `places` and `network` say; `runtime` and `shim` start it; `state`
                    and `store` keep it; `rootless` and `adopt` are for ordinary users; `render` writes the result
run lines           `runline` reads one by the tables of `options`, `container_line` writes one, `stand_in` is the
                    trial's; `flags`, `docker_flags`, `podman_flags` and `compose_flags` put a plan into words
images and layers   `image` reads layouts and archives, `layers` unpacks them, `rootfs` and `tree` never follow a link
                    out; `mounts` and `ids` read what the kernel shows of a container, `containerd` what it stored
Kubernetes          `kubernetes` asks over `apiserver` and `streams`; `copies`, `quotas` and `roles` are pure; `lent`
                    lends disk, `readers` ask lithify on other nodes
pods and clusters   `described` is what their engines share, `host` where processes are looked at, `pause` a program
                    that only waits
this node           `node`, `cri` and `kubelet` find containers that others started, `attached` is one of them
other programs      `process` starts all of them, `client` an engine's; `helm` and `kustomize` render

What is made bears the mark of its process (`ownership`, `temporary`), and goes with the next lithify after a crash.
"""
