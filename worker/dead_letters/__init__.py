"""Dead letters that people can work with: collected, looked at, tried dry, redriven, moved."""
