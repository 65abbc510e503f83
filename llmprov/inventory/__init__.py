"""The Ansible inventory as validated values; every error at once."""
