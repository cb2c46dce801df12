"""What the model has cost, by project and day, project and month, and month of the whole appliance.

The gateway counts and refuses, the consumer looks before it starts a run.
"""
