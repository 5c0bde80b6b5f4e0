"""The open-loop engine: journeys begin on schedule, whatever the response times are."""
