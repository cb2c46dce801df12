# The runners' base image: the services' own, with the Debian packages that the projects' tools are in.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

ARG PACKAGES
# What this image trusts follows from its own packages; the bundle is for fetching them alone.
COPY trusted_ca_bundle.crt /var/tmp/trusted_ca_bundle.crt
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get --quiet --option Acquire::https::CAInfo=/var/tmp/trusted_ca_bundle.crt update \
    && apt-get --quiet --option Acquire::https::CAInfo=/var/tmp/trusted_ca_bundle.crt \
        install --yes --no-install-recommends ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/tmp/trusted_ca_bundle.crt
