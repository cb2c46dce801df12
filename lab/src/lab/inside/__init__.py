"""Programs that run inside the lab's containers, with nothing but Debian's Python packages."""
