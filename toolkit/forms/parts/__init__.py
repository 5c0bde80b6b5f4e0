"""Parts that several forms share: results, charts, advice and background tasks."""
