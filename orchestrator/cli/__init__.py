"""The `longtail` command: arguments, output, and the commands themselves."""
