"""The server of ``transformers serve``, whose parts are promised to nobody, with a decoder for each request."""
