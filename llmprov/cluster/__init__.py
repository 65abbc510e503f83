"""The Kubernetes API: the only importer of the kubernetes client."""
