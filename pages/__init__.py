"""What a person sees: Streamlit lives here and nowhere else."""
