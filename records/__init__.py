"""What is remembered: who may administer this installation."""
