"""What a process needs to run: devices, processes, memory, compilation and its cache, progress, the command line."""
