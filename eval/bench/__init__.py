"""The benchmark of decoders: what is generated, timed and scored."""
