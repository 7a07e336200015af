"""Find faces, put a mesh on them, follow them through a clip, cut them out."""
