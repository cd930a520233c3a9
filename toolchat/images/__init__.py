"""Images: headers and limits, what users attach, what tools return, and the pixels that a model is given."""
