"""Infer: a bundle and a scan in, patches and the stitched object out."""
