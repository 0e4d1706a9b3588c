"""Files of data and results: formats, schemas, checksums, layout of the results tree."""
