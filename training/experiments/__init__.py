"""The research kit: hyper-parameter search and the leaderboard."""
