"""A stand-in for Filebeat 8.17: reads log files and the journal, ships them to Elasticsearch's Bulk API.

It is NOT Filebeat. It exists because the lab cannot get the real one, so that what reaches the log
store is tested end to end. It takes the part of Filebeat's configuration that is named in
`options.py`, with the same meaning, and refuses everything else: where the real one ignores an
option that it does not know, this one does not start.

Reference: https://www.elastic.co/guide/en/beats/filebeat/8.17/index.html
"""

VERSION = "8.17.4"
STAND_IN = "a stand-in of the lab, not Elastic's Filebeat"
