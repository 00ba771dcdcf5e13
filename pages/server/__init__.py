"""The edge of the app: ASGI middleware between the network and Streamlit."""
