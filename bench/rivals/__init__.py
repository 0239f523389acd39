"""The runtimes that are compared: a file each, served in a process and mostly an environment of its own."""
