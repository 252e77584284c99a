"""The stream transports: a WebSocket, and a plain Unix or TCP socket."""
