"""The decisions of the service, without I/O: accounts, messages, rate windows, send and verify."""
