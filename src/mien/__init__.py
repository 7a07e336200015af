"""mien: swap and re-enact faces in pictures and video, train the models that do it, measure the result, and mark it."""

__version__ = "0.1.0"
