"""Where the service keeps its state: one module per engine."""
