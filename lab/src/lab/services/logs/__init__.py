"""A stand-in for the part of Elasticsearch that Filebeat uses, and a read API for tests.

`_bulk` is stricter than Elasticsearch: only data from a log shipper, only indexes named
`sdlc-agent-YYYY.MM.DD`, and a line that is wrong refuses the whole request.
"""
