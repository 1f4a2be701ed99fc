"""The `longtail` command: arguments, output, and the commands themselves."""

from orchestrator.own_packages import bind_packages

bind_packages()
