"""What `longtail COMMAND` does: a file for each group of commands, a function for each command, thin.

Imports of torch, ray and pandas wait until a command needs them, so that `longtail --help` answers at once.
"""
