"""The lab: bare test hosts, a package mirror and the outside services an appliance talks to.

Everything runs on one machine, in containers of one Docker engine and on one network. The lab
installs what it needs, keeps what is costly to make in a cache keyed by content, and can be
interrupted at any moment: the next command finishes the work. See docs/lab.md.
"""
