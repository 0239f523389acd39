"""edgesparse: compile sparse neural networks for the CPUs people own."""
