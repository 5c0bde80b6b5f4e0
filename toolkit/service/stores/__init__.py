"""The stores of the service: one package an engine, behind one Protocol."""
