"""What runs when: definitions, jobs, runs, the command line."""
