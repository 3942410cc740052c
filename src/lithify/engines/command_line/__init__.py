"""Docker and Podman by their own command lines, and the run lines that people write for them.

`engine` is what both do alike, asked for by `client`; `docker` and `podman` are what differs. `runline` reads a
line by the tables of `options`, `container_line` writes that of a container, `stand_in` is the trial's. `flags`,
`docker_flags` and `podman_flags` put a plan into words.
"""
