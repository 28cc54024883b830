"""The console: a small web page for operators. Reads the store, and acts on dead letters."""
