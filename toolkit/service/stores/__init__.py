"""Store the state of the service: one package for each engine, behind one interface."""
