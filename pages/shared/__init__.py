"""Parts that several pages share: frame, sign-in, classifiers in memory, charts and names."""
