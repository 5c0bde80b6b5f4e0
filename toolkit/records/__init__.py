"""The record of one API call and its file formats, the same for clients, load tests, logs and simulated traffic."""
