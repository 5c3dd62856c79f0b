"""The page and the HTTP API, on `vetrina` alone: whoever starts them hands them a `Shop`."""
