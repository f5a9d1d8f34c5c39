"""Where models run: in this process, in vLLM, or behind an endpoint."""
