"""The shared store: any number of processes and machines over one Redis."""
