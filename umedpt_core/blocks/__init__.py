"""The shared blocks: encoder, embedding, pixel decoder, pyramid decoder, norm swapping."""
