"""The services as people deploy them: Compose files, Kubernetes manifests, a chart; and the table of how they fare."""
