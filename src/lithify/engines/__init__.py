"""Thin layers over the programs that run containers, one Protocol for all: `base`.

By what runs a target:

`bundle`            one container, without a daemon
`command_line`      one container of Docker or Podman
`compose`           a service of a Compose project, the others around it
`pods`              a container of a pod, the others around it, without a cluster
`kubernetes`        the same on a real cluster

What these stand on: `images` are looked into and unpacked, `node` finds what others started here, `attached` is one
of those. `process` starts all other programs, `helm` and `kustomize` render. `mounts` and `ids` read what the
kernel shows of a container, `tree` never follows a link out, `host` is where processes are looked at, `described`
what the engines of pods and clusters share, `pause` a program that only waits.

What is made bears the mark of its process (`ownership`, `temporary`), and goes with the next lithify after a crash.
"""
