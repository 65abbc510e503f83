"""What llmprov does, verb by verb; each module reads like its own table of contents."""
