"""The embedded broker and store: real engines as child processes, so that nothing has to be installed."""
