"""The arithmetic of contrast, and the decoders that are one formula over an expert and an amateur."""
