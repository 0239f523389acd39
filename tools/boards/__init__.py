"""What kernels cost on Arm cores without one: exact instruction counts, a cache model and a port model."""
