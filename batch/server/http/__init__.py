"""The HTTP face of the local server: routes, requests and responses, the handlers, the description."""
