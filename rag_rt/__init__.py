"""Ask a question in plain words; get a cited paragraph from Wikipedia."""
