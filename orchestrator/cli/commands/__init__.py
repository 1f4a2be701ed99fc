"""The commands: a file per group of commands, a function per command.

Imports of torch, ray and pandas wait until a command needs them, so that `longtail --help` answers at once.
"""
