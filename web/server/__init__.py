"""The server: what every connection, request and answer is held to, and how they are counted."""
