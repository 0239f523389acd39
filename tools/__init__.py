"""What developers of edgesparse run besides its tests."""
