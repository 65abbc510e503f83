"""Bare hosts on one machine: systemd-nspawn in network namespaces."""
