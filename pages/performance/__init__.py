"""The Performance page: the card of the classifier in use."""
