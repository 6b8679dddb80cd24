"""What the pytest plugin and the command line share: choosing scenarios, making runs, showing progress."""
