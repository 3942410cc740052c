"""Text formats with their places: what stands where in a file, and how Kubernetes reads it."""
