"""The LLM gateway: the only place that holds the key of the model's API.

Runners call it as if it were that API, with a token made for one job. It checks the token, adds the key, passes the
answer on as it streams, counts tokens and cost, and refuses a job that has used up its budget.
"""
