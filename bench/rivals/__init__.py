"""The runtimes that are compared: a file each, run in a process and mostly an environment of its own by `serve.py`."""
