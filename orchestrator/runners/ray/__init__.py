"""Training on a Ray cluster: the only package that imports Ray, beside recipe search."""

from orchestrator.own_packages import bind_packages

bind_packages()
