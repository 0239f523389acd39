"""Devices: what is known of them (targets, cost tables), and sessions that run artifacts on them."""
