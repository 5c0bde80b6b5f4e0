"""The open-loop engine, which begins journeys on schedule, however long the responses take."""
