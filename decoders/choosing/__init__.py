"""From the text that names a decoder to the arguments that ``generate`` takes."""
