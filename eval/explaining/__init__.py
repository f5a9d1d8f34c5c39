"""What a decoder did, token by token: watched, told in words and figures, and drawn as one page."""
