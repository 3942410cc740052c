"""Jobs of a scheduler that lithify does not know, in lines of `task NAME IMAGE ro|rw`."""

from lithify.model.location import Location
from lithify.model.workload import Container, ObjectName, Workload
from lithify.sources.base import Reading

SUFFIXES = (".job",)


def wanted(path: str, data: bytes) -> bool:
    """Tell whether a file is one of these."""
    return path.endswith(".job")


def read(path: str, data: bytes) -> Reading:
    """Return the tasks of a job."""
    reading = Reading(path)
    reading.documents = 1
    workload = Workload(ObjectName("Job", path), "oci", Location(path))
    containers = []
    for number, line in enumerate(data.decode().splitlines(), 1):
        _, name, image, root = line.split()
        container = Container(workload, "containers", number - 1, name, Location(path, line=number, column=1))
        container.image = image
        container.security.read_only_root = root == "ro"
        containers.append(container)
    workload.containers = tuple(containers)
    reading.workloads.append(workload)
    return reading
