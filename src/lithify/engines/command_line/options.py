"""Which options `docker run`, `podman run` and the programs around them know, and which of those take a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grammar:
    """Which options a program knows: those that take a value, those that take none, and their letters."""

    values: frozenset[str]
    switches: frozenset[str]
    letters: dict[str, str]


def _grammar(values: str, switches: str, letters: str) -> Grammar:
    return Grammar(
        frozenset(values.split()), frozenset(switches.split()), {pair[0]: pair[2:] for pair in letters.split()}
    )


_VALUES = """
    add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
    cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach-keys device
    device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops dns dns-opt dns-option
    dns-search entrypoint env env-file expose gpus group-add health-cmd health-interval health-retries
    health-start-period health-timeout hostname ip ip6 ipc kernel-memory label label-file log-driver log-opt mac-address
    memory memory-reservation memory-swap memory-swappiness mount name net network network-alias oom-score-adj pid
    pids-limit platform publish pull restart security-opt shm-size stop-signal stop-timeout storage-opt sysctl tmpfs
    ulimit user userns uts volume volumes-from workdir
"""
_SWITCHES = """
    detach disable-content-trust help init interactive no-healthcheck oom-kill-disable privileged publish-all quiet
    read-only rm sig-proxy tty
"""
_LETTERS = """
    a=attach c=cpu-shares d=detach e=env h=hostname i=interactive l=label m=memory p=publish P=publish-all q=quiet t=tty
    u=user v=volume w=workdir
"""
_DOCKER_VALUES = """
    cpu-count cpu-percent domainname health-start-interval io-maxbandwidth io-maxiops isolation kernel-memory-tcp link
    link-local-ip net-alias runtime volume-driver
"""
_PODMAN_VALUES = """
    arch authfile cert-dir cgroup-conf cgroups chrootdirs conmon-pidfile creds decryption-key env-merge gidmap
    group-entry health-log-destination health-max-log-count health-max-log-size health-on-failure health-startup-cmd
    health-startup-interval health-startup-retries health-startup-success health-startup-timeout hosts-file hostuser
    image-volume init-ctr init-path intel-rdt-clos-id os passwd-entry personality pidfile pod pod-id-file preserve-fd
    preserve-fds requires retry retry-delay sdnotify seccomp-policy secret shm-size-systemd signature-policy subgidname
    subuidname systemd timeout tz uidmap umask unsetenv variant
"""
_PODMAN_SWITCHES = """
    env-host http-proxy no-hostname no-hosts passwd read-only-tmpfs replace rmi rootfs tls-verify unsetenv-all
"""
RUN_OPTIONS = {
    "docker": _grammar(_VALUES + _DOCKER_VALUES, _SWITCHES + "use-api-socket", _LETTERS),
    "podman": _grammar(_VALUES + _PODMAN_VALUES, _SWITCHES + _PODMAN_SWITCHES, _LETTERS),
}
"""As of Docker 28 and Podman 5, hidden and retired options included."""

PROGRAM_OPTIONS = {
    "docker": _grammar(
        "config context host log-level tlscacert tlscert tlskey",
        "debug help tls tlsverify version",
        "c=context D=debug H=host l=log-level v=version",
    ),
    "podman": _grammar(
        """
        cgroup-manager cdi-spec-dir config conmon connection cpu-profile db-backend events-backend hooks-dir identity
        imagestore log-level memory-profile module namespace network-cmd-path network-config-dir out pull-option root
        runroot runtime runtime-flag ssh storage-driver storage-opt tls-ca tls-cert tls-key tmpdir url volumepath
        """,
        "help noout remote syslog trace transient-store version",
        "c=connection r=remote v=version",
    ),
}

WRAPPER_OPTIONS = {
    "sudo": _grammar(
        "user group host prompt chdir chroot close-from role type command-timeout",
        "preserve-env non-interactive set-home stdin reset-timestamp background login",
        """
        u=user g=group h=host p=prompt D=chdir R=chroot C=close-from r=role t=type T=command-timeout E=preserve-env
        n=non-interactive H=set-home S=stdin k=reset-timestamp b=background i=login
        """,
    ),
    "doas": _grammar("user config", "non-interactive", "u=user C=config n=non-interactive"),
    "env": _grammar("unset chdir", "ignore-environment", "u=unset C=chdir i=ignore-environment"),
}
"""Programs that start another one, with what they are told to do so."""
