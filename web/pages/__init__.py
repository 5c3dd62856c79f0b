"""The pages: routes that answer HTML."""
