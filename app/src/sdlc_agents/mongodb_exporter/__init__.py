"""MongoDB's own figures as Prometheus metrics.

A compact collector for one member of the replica set. Metric and label names are those of Percona's mongodb_exporter
(https://github.com/percona/mongodb_exporter), so that dashboards and alerts made for it fit, and a site may swap it in.
"""
