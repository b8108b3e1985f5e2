"""What people look up and have done over their own connection: the responders, and how they are asked."""
