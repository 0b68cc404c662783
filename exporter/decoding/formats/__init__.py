"""Records of other shapes than the usual batch, read as `input.formats` describes them. Pure."""
