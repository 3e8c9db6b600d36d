"""A job: cases in, an output folder out; can be killed and run again."""
