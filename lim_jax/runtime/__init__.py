"""What a process needs to run: devices, compilation, memory, progress, the command line."""
