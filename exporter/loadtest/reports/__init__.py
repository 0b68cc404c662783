"""Reports of a load test: HTML, Markdown, CSV and a picture, from the results and those of an earlier run."""
