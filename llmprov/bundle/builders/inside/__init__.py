"""Scripts that run on the Python of an engine image, with its packages."""
