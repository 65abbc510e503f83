"""Kubernetes objects as Jinja2 templates, rendered strictly."""
