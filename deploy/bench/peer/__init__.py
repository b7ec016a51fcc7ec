"""The same job as others do it, to be measured beside our worker."""
