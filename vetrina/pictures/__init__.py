"""Pictures: fetched, checked, decoded, kept."""
