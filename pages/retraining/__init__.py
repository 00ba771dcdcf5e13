"""The five steps of the retrain page, each a module with one function `show`."""
