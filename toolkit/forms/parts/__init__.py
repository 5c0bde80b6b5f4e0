"""Parts of the forms: results, charts, advice and background tasks."""
