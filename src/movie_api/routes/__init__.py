"""The HTTP routes, one module per resource: parse the request, call a service, render the response."""
