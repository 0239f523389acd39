"""Devices: what is known of them (targets, cost tables), and what this machine says of itself."""
