"""What the learner's functions are held to, one module for each exercise."""
