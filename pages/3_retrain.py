"""The script that Streamlit runs when /retrain is the first address after a start: it runs app.py instead.

Until app.py has run once, Streamlit 1.67 takes a request for /retrain to mean a script of that name in this
folder. It would run such a script without the frame, and says "Page not found" where there is none.
"""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[1] / "app.py"), run_name="frame")
